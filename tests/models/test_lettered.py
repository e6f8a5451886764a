"""Laws of words read as characters: those of P(beginning), of every engine, and of mixtures."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import charlm
from charlm.engines.protocol import Engine
from charlm.errors import UsageError
from charlm.inference.lettered.reading import FLOOR
from charlm.inference.score import ended
from charlm.models.language_model import LanguageModel
from charlm.models.lettered import LetteredModel
from charlm.models.mixtures import Adapting, SequenceMixture, TokenMixture, mix
from charlm.tokenizers.base import EOS_ID, NUM_SPECIALS, UNK_ID
from tests.support.cli import charlm as charlm_command
from tests.support.cli import good

TEXTS = [
    'The cat (see p. 3) sat, "on the mat".',
    "Don't go there, cats! The dog's 'day' -- it came.",
    "two  spaces\tand a tab \n and lines\n\nthe end...",
    "cat dog cat's dogs the then there theme",
    "3.5 per cent, 12 cats and 4,000 dogs",
] * 4
LETTERS = sorted({character for text in TEXTS for character in text})
SOME_TEXTS = st.one_of(
    st.text(st.sampled_from(LETTERS), max_size=24),
    st.lists(
        st.sampled_from(["the", "cat", "'s", "don't", " ", "  ", "(", ".", ",", "3", "\n", "tho"]),
        max_size=8,
    ).map("".join),
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LanguageModel]:
    """Small models of one text: of characters, of words, of subwords, of lower case."""
    root = tmp_path_factory.mktemp("runs")

    def trained(name: str, **options: object) -> LanguageModel:
        found = charlm.train(
            texts=TEXTS,
            name=name,
            root=root,
            steps=30,
            hidden=8,
            valid_share=0.0,
            min_count=1,
            **options,
        )
        assert isinstance(found, LanguageModel)
        return found

    return {
        "chars": trained("chars"),
        "words": trained("words", level="word", vocab_size=30),
        "others": trained("others", level="word", vocab_size=18, seed=1, ngram=2),
        "adaptive": trained("adaptive", adaptive=True),
        "lower": trained("lower", level="word", lowercase=True),
    }


@pytest.fixture(scope="module")
def lettered(models: dict[str, LanguageModel]) -> LetteredModel:
    """The words, read by characters."""
    return LetteredModel(models["words"], models["chars"].tokenizer)


def by_beginnings(words: LanguageModel, chars: LanguageModel, text: str) -> NDArray[np.float64]:
    """P (C,) of the next character, from its definition: P of each beginning, and of the text."""
    alphabet = [
        chars.tokenizer.decode([i]) for i in range(NUM_SPECIALS, chars.tokenizer.vocab_size)
    ]
    found = np.full(chars.tokenizer.vocab_size, -math.inf)
    found[EOS_ID] = words.score(text).total_log_prob
    found[NUM_SPECIALS:] = [words.log_prob_begins(text + character) for character in alphabet]
    shares = np.exp(found - found.max())
    return (1 - FLOOR) * shares / shares.sum() + FLOOR / len(shares)


@settings(max_examples=60, deadline=None)
@given(text=SOME_TEXTS)
@example(text="")
@example(text="The cat")
@example(text="don'")
@example(text="don't ")
@example(text="the  ")
@example(text='"(cat')
@example(text="thc (3.")
@example(text="cat-dog,(the)then.cats'day-dogs.3.5,4,000--the(cat),dog")
@example(text="the" * 30)
@example(text="." * 40 + "cats don'")
def test_the_next_character_is_what_completions_say(
    models: dict[str, LanguageModel], lettered: LetteredModel, text: str
) -> None:
    """P(c | text) is P(a text begins with text and c), over the sum of all that can come."""
    chars = models["chars"]
    ids = chars.tokenizer.encode(text)
    found = np.exp(lettered.engines.of("numpy").next_logits(ids).astype(np.float64))
    expected = by_beginnings(models["words"], chars, text)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-6)
    assert found.sum() == pytest.approx(1, abs=1e-5)


def rows_of(engine: Engine, sequences: list[NDArray[np.int32]]) -> NDArray[np.float64]:
    """log P (N, V) at all tokens."""
    rows = np.empty((sum(map(len, sequences)), engine.config.vocab_size))
    for places, found in engine.predictions(sequences):
        rows[places] = found
    return rows


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_all_ways_to_read_agree(
    models: dict[str, LanguageModel], lettered: LetteredModel, kind: str
) -> None:
    """Rows, tokens, pieces, steps and double precision say the same, unknown characters too."""
    texts = ["The cat's (dog", "", "Ω the ψat  3\n.", "don't 4,0"]
    sequences = ended(models["chars"].tokenizer, texts)
    engine = lettered.engines.of(kind)
    rows = rows_of(engine, sequences)
    np.testing.assert_allclose(np.exp(rows).sum(axis=1), 1, atol=1e-9)
    targets = np.concatenate(sequences)
    expected = rows[np.arange(len(targets)), targets]
    log_probs, details = engine.token_log_probs(sequences, details=True)
    assert details is not None
    np.testing.assert_allclose(log_probs, expected)
    np.testing.assert_array_equal(log_probs, engine.token_log_probs(sequences)[0])
    begin = 0
    decoder, arbiter = engine.decoder(), engine.arbiter()
    mark = np.array([engine.config.vocab_size])
    for ids in sequences:
        here = rows[begin : begin + len(ids)]
        cut = len(ids) // 2
        first, state = engine.read_on(ids[:cut])
        rest, _ = engine.read_on(ids[cut:], state)
        np.testing.assert_allclose(np.concatenate((first, rest)), expected[begin:][: len(ids)])
        stepped, settled = decoder.read(mark[:0]), None
        for row, token in zip(here, [mark[0], *ids[:-1]], strict=True):
            logits, stepped = decoder.step(np.array([token]), stepped)
            settled = arbiter.read(np.array([token]), settled)
            np.testing.assert_allclose(logits[0], row, atol=1e-4)
            np.testing.assert_allclose(arbiter.log_probs([settled])[0], row, atol=1e-4)
        begin += len(ids)


def test_rows_of_a_decoder_go_their_own_ways(lettered: LetteredModel) -> None:
    """Selected, set anew and stepped beside others, a row is what it is alone."""
    decoder = lettered.engines.of("numpy").decoder()
    mark = lettered.engines.of("numpy").config.vocab_size
    ids = lettered.tokenizer.encode("the cat (")
    two = decoder.select(decoder.read(np.array([mark, *ids[:4]])), np.array([0, 0]))
    logits, two = decoder.step(ids[[4, 6]], two)
    alone, _ = decoder.step(ids[6:7], decoder.read(np.array([mark, *ids[:4]])))
    np.testing.assert_array_equal(logits[1], alone[0])
    decoder.restart(two, np.array([0]), decoder.read(np.array([mark])))
    again, _ = decoder.step(ids[[0, 0]], two)
    fresh, _ = decoder.step(ids[:1], decoder.read(np.array([mark])))
    np.testing.assert_array_equal(again[0], fresh[0])


def test_a_mixture_by_character_is_one_of_its_distributions(
    models: dict[str, LanguageModel], lettered: LetteredModel
) -> None:
    """Σk w_k p_k of every character; tokens, contexts and beginnings as of any model."""
    mixed = mix([models["words"], models["chars"]], (0.3, 0.7), by_character=True)
    assert isinstance(mixed, TokenMixture)
    assert mixed.tokenizer.level == "char"
    assert mixed.checkpoint is models["chars"].checkpoint
    text = "The cat's (dog) zq"
    (ids,) = ended(mixed.tokenizer, [text])
    parts = [
        model.engines.of("numpy").token_log_probs([ids])[0] for model in (lettered, models["chars"])
    ]
    expected = np.log(0.3 * np.exp(parts[0]) + 0.7 * np.exp(parts[1]))
    score = mixed.score(text, per_token=True, closed=True)  # z and q are no known characters
    assert score.tokens is not None
    np.testing.assert_allclose([token.log_prob for token in score.tokens], expected, atol=1e-5)
    whole = mixed.score("The cat sat").total_log_prob
    assert mixed.score(" sat", context="The cat").total_log_prob == pytest.approx(
        whole - mixed.log_prob_begins("The cat"), abs=1e-4
    )
    after = mixed.next_tokens("The ca", top=None)
    assert sum(math.exp(token.log_prob) for token in after.entries) == pytest.approx(1, abs=1e-4)
    assert mixed.evaluate([text]).tokens == len(text) + 1
    by_text = mix([models["words"], models["chars"]], (0.3, 0.7))
    assert isinstance(by_text, SequenceMixture)


def test_weights_are_tuned_by_characters(models: dict[str, LanguageModel]) -> None:
    """The weights under which a text is likeliest are no worse than any others."""
    mixed = mix([models["chars"], models["words"], models["others"]], by_character=True)
    tuned = mixed.tuned(TEXTS[:5])

    def cost(one: TokenMixture | SequenceMixture) -> float:
        return -sum(score.total_log_prob for score in one.score_all(TEXTS[:5]))

    assert sum(tuned.weights) == pytest.approx(1)
    assert cost(tuned) <= cost(mixed)
    for weights in ((1, 0, 0), (0.5, 0.5, 0), (0.2, 0.4, 0.4)):
        other = mix(mixed.models, weights, by_character=True)
        assert cost(tuned) <= cost(other) + 1e-2


def test_what_is_drawn_is_what_is_scored(models: dict[str, LanguageModel]) -> None:
    """Samples report the log P that score gives them, and do not depend on what is beside them."""
    mixed = mix([models["chars"], models["words"]], by_character=True)
    several = list(mixed.sample(6, max_tokens=60, seed=5, unk="keep"))
    ended_there = [sample for sample in several if sample.ended == "eos"]
    assert ended_there
    for sample in ended_there:
        score = mixed.score(sample.text)
        assert sample.total_log_prob == pytest.approx(score.total_log_prob, abs=1e-3)
    (one,) = mixed.sample(1, max_tokens=60, seed=5, unk="keep")
    assert one.text == several[0].text


@pytest.mark.parametrize("adapt", ["frozen", "sequence"])
def test_beside_words_a_model_adapts(models: dict[str, LanguageModel], adapt: Any) -> None:
    """Mixed with words the network is another predictor, of which all laws of adapting hold."""
    mixed = mix([models["words"], models["adaptive"]], (0.4, 0.6), by_character=True)
    adapting = mixed.adapting(adapt)
    assert isinstance(adapting, Adapting)
    assert adapting.adapting("off") is mixed
    assert adapting.num_parameters == mixed.num_parameters
    assert adapting.stands_in_training(TEXTS[0]) is mixed.stands_in_training(TEXTS[0])
    texts = ["the cat's the cat's", "3.5 dogs", ""]
    several = adapting.score_all(texts, per_token=True)
    for text, score in zip(texts, several, strict=True):
        alone = adapting.score(text)
        assert alone.total_log_prob == pytest.approx(score.total_log_prob, abs=1e-4)
        assert score.tokens is not None
        each = sum(token.log_prob for token in score.tokens)
        assert each == pytest.approx(score.total_log_prob, abs=1e-9)
    total = sum(score.total_log_prob for score in several)
    tokens = sum(score.num_tokens for score in several)
    assert adapting.evaluate(texts).cross_entropy == pytest.approx(-total / tokens, abs=1e-4)
    after = adapting.next_tokens("the cat", top=None)
    assert sum(math.exp(entry.log_prob) for entry in after.entries) == pytest.approx(1, abs=1e-4)
    drawn = adapting.sample(2, max_tokens=40, seed=3, unk="keep")
    assert [one.text for one in drawn] == [
        one.text for one in adapting.sample(2, max_tokens=40, seed=3, unk="keep")
    ]
    plain = mixed.score(texts[0]).total_log_prob
    without = models["adaptive"].adapting(adapt).score(texts[0]).total_log_prob
    assert len({round(value, 6) for value in (several[0].total_log_prob, plain, without)}) == 3


def test_words_alone_beside_it_are_weighed(models: dict[str, LanguageModel]) -> None:
    """With all the weight the network is as without words; a file is read in its order."""
    mixed = mix([models["adaptive"], models["words"]], (1, 0), by_character=True)
    text = "the cats and the dogs"
    for adapt in ("frozen", "sequence", "file"):
        assert isinstance(mixed, TokenMixture)
        with_words = mixed.adapting(adapt).score(text).total_log_prob
        alone = models["adaptive"].adapting(adapt).score(text).total_log_prob
        assert with_words == pytest.approx(alone, abs=1e-4)
    with pytest.raises(UsageError, match="one of characters adapts, beside models of words"):
        mix([models["chars"], models["chars"]]).adapting("sequence")  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="no memory to adapt with"):
        mix([models["chars"], models["words"]], by_character=True).adapting("frozen")  # type: ignore[union-attr]


def test_what_cannot_be_mixed_by_character_is_refused(models: dict[str, LanguageModel]) -> None:
    """Words alone, words of lower case, and models that are mixed by labels or adapt."""
    with pytest.raises(UsageError, match="one of the models must be of characters"):
        mix([models["words"], models["others"]], by_character=True)
    with pytest.raises(UsageError, match="differ in case"):
        mix([models["chars"], models["lower"]], by_character=True)
    with pytest.raises(UsageError, match="does not tell all characters apart"):
        LetteredModel(models["lower"], models["chars"].tokenizer)
    with pytest.raises(UsageError, match="plain model of words"):
        LetteredModel(models["chars"], models["chars"].tokenizer)
    with pytest.raises(UsageError, match="plain model of them"):
        LetteredModel(models["words"], models["words"].tokenizer)


def test_no_character_is_impossible(lettered: LetteredModel) -> None:
    """What no completion has still has its part of a millionth; unknown characters have, too."""
    rows = rows_of(lettered.engines.of("numpy"), ended(lettered.tokenizer, ["the cat ", "3Ω"]))
    size = rows.shape[1]
    assert rows.min() >= math.log(FLOOR / size) - 1e-6
    np.testing.assert_allclose(rows[:, UNK_ID], math.log(FLOOR / size))


def test_commands_mix_by_character(
    models: dict[str, LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """score and evaluate say what Python says; one model, or words alone, are refused."""
    root = models["chars"].checkpoint.path.parent.parent
    monkeypatch.setenv("CHARLM_RUNS", str(root))
    asked = ("--model", "adaptive", "--model", "words", "--by-character", "--weights", "0.6,0.4")
    mixed = mix([models["adaptive"], models["words"]], (0.6, 0.4), by_character=True)
    assert isinstance(mixed, TokenMixture)
    for adapt in ("off", "sequence"):
        said = json.loads(good("score", *asked, "--adapt", adapt, "--json", "the cats").out)
        expected = mixed.adapting(adapt).score("the cats").total_log_prob  # type: ignore[arg-type]
        assert said["total_log_prob_nats"] == pytest.approx(expected, abs=1e-4)
    (root / "text.txt").write_text("the cat\ndogs and cats\n", encoding="utf-8")
    read = ("evaluate", str(root / "text.txt"), "--split-on", "line", *asked)
    told = json.loads(good(*read, "--adapt", "file", "--json").out)
    assert told["tokens"] == len("the cat") + len("dogs and cats") + 2
    static = mixed.evaluate(["the cat", "dogs and cats"]).cross_entropy
    assert told["cross_entropy_nats_per_token"] == pytest.approx(static, abs=1e-4)
    assert told["adapted"]["cross_entropy_nats_per_token"] != pytest.approx(static, abs=1e-4)
    for wrong, why in (
        (("--model", "chars", "--by-character"), "goes with --model twice"),
        (("--model", "words", "--model", "others", "--by-character"), "must be of characters"),
        (("--model", "chars", "--model", "words", "--adapt", "file"), "--by-character"),
    ):
        ended_so = charlm_command("evaluate", str(root / "text.txt"), *wrong)
        assert ended_so.code != 0
        assert why in ended_so.err, ended_so.err


def test_models_that_were_saved_are_found_by_their_names(
    models: dict[str, LanguageModel], tmp_path: Path
) -> None:
    """What is loaded anew and mixed says the same."""
    del tmp_path
    root = models["chars"].checkpoint.path.parent.parent
    loaded = [charlm.load(name, root=root) for name in ("chars", "words")]
    again = charlm.mix(loaded, by_character=True)  # type: ignore[arg-type]
    mixed = mix([models["chars"], models["words"]], by_character=True)
    assert again.score("the cats").total_log_prob == pytest.approx(
        mixed.score("the cats").total_log_prob
    )
