"""Laws of the open vocabulary: every string has a probability, and they add up to one."""

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import charlm
from charlm.checkpoints.language_model import load_speller
from charlm.checkpoints.step import StepFiles, save_step
from charlm.checkpoints.tensors import arrays_to_bytes
from charlm.config import SamplingConfig
from charlm.engines.numpy_lm import NumpyEngine
from charlm.engines.torch_lm import TorchEngine
from charlm.errors import CheckpointError, UsageError
from charlm.inference.score import score_texts
from charlm.inference.unknown import (
    NUM_SCALARS,
    NothingUnknown,
    Speller,
    UnknownCharacters,
    unknown_of,
)
from charlm.models.mixtures import mix
from charlm.models.selfcheck import check_model
from charlm.nn.network import to_arrays
from charlm.text.tokens import tokenize
from charlm.tokenizers import train_tokenizer
from charlm.tokenizers.character import CharacterTokenizer
from charlm.tokenizers.word import WordTokenizer
from charlm.tokenizers.word_chunks import count_types
from charlm.training.speller import train_speller
from charlm.training.texts.material import TextMaterial
from tests.support.cli import charlm as run_charlm
from tests.support.tiny import LEVELS, TEXTS, chi_square_p, material_of, model_of, trained_run

STRANGE = ["xyzzy", "你好 😀", "\0\x1b[31m", "the xyzzy sat, 9!", "é" * 40, "", "\ud800 b"]


@pytest.fixture(scope="module")
def speller() -> Speller:
    """A speller trained for a moment on the words of a few texts."""
    return spelled(train_tokenizer(TEXTS, level="word"))


def spelled(tokenizer: Any, texts: list[str] = TEXTS) -> Speller:
    """A speller of the texts' words."""
    assert isinstance(tokenizer, WordTokenizer)
    return train_speller(count_types(texts), tokenizer, seed=3)


def random_speller(characters: str, log_known: float = -1.0) -> Speller:
    """A speller of a few characters whose weights are random."""
    tokenizer = CharacterTokenizer.train([characters], min_count=1)
    model = model_of(tokenizer.vocab_size, std=0.3)
    return Speller(
        config=model.config,
        weights={name: array.copy() for name, array in to_arrays(model).items()},
        tokenizer=tokenizer,
        log_known=log_known,
    )


@given(known=st.sets(st.characters(), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_unknown_characters_share_all_of_unk(known: set[str]) -> None:
    """As many shares as there are scalar values outside the vocabulary, all alike, make 1."""
    tokenizer = CharacterTokenizer.train(["".join(sorted(known))], min_count=1)
    unknown = UnknownCharacters(tokenizer)
    shares = np.exp(unknown.log_probs(["x", "\U0010ffff"]))
    assert shares[0] == shares[1]
    scalars = sum(not "\ud800" <= character <= "\udfff" for character in known)
    assert shares[0] * (NUM_SCALARS - scalars) == pytest.approx(1, rel=1e-12)
    assert unknown.log_probs([]).shape == (0,)


def test_spellings_add_up_to_one() -> None:
    """All strings of up to n characters, and all beginnings of longer ones, have probability 1."""
    speller = random_speller("01a")
    frontier, ended = [""], 0.0
    characters = ["0", "1", "a", "\u2603"]  # the last stands for all that are not known
    many = NUM_SCALARS - 3
    for _ in range(4):
        log_probs = speller.spelled(frontier)
        copies = np.array([many ** text.count("\u2603") for text in frontier], dtype=float)
        ended += float((np.exp(log_probs) * copies).sum())
        frontier = [text + character for text in frontier for character in characters]
    # What has not ended yet: P(the first four characters), whatever follows.
    tokenizer, engine = speller.tokenizer, NumpyEngine(speller.config, speller.weights)
    ids = [tokenizer.encode(text) for text in frontier]
    beginnings = engine.token_log_probs(ids)[0].reshape(len(frontier), 4).sum(axis=1)
    assert ended + float(np.exp(beginnings).sum()) == pytest.approx(1, abs=1e-5)
    assert 0.01 < ended < 0.99


def test_what_known_words_would_get_is_shared_over_the_others(speller: Speller) -> None:
    """log_known is the sum over the vocabulary; the rest is renormalised to 1."""
    tokenizer = train_tokenizer(TEXTS, level="word")
    assert isinstance(tokenizer, WordTokenizer)
    known = np.exp(speller.spelled(tokenizer.types)).sum()
    assert math.exp(speller.log_known) == pytest.approx(known, rel=1e-4)
    kinds = ["0xyzzy", "1!", "0catting"]
    np.testing.assert_allclose(
        np.exp(speller.log_probs(kinds)),
        np.exp(speller.spelled(kinds)) / (1 - known),
        rtol=1e-4,
    )


def test_a_spelling_does_not_depend_on_its_neighbours(speller: Speller) -> None:
    """Alone, among others, asked for twice: the same."""
    kinds = ["0xyzzy", "0a", "0xyzzy", "2\u2603", "0" + "long" * 30]
    together = speller.log_probs(kinds)
    again = Speller.from_json(speller.to_json(), speller.weights)
    alone = [float(again.log_probs([kind])[0]) for kind in kinds]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(together, speller.log_probs(kinds))


def test_words_like_those_seen_are_likelier() -> None:
    """A speller learns what rare words look like, not what frequent ones do."""
    rare = [f"{a}{b}{c}ing" for a in "bcdfg" for b in "aeiou" for c in "lmnprst"]
    texts = [*rare, *["zzz"] * 500, *["ing ing"] * 20]
    speller = spelled(train_tokenizer(texts, level="word"), texts)
    seen, unlike, frequent = speller.spelled(["0balting", "0qjxkvw", "0zzz"])
    assert seen > unlike + 5
    assert seen > frequent


def streams(n: int) -> list[Callable[[], float]]:
    """Sources of uniform numbers."""
    return [np.random.default_rng((5, i)).random for i in range(n)]


def test_spellings_are_drawn_in_proportion_to_their_probability() -> None:
    """Of the types that fit, each comes as often as log_probs say, by chi-square."""
    speller = random_speller("abc")
    speller.weights["softmax.bias"][speller.tokenizer.unk_id] = -30
    words = [letters for n in range(1, 5) for letters in itertools.product("abc", repeat=n)]
    kinds = [kind for kind in map("".join, words) if kind not in ("a", "cb")]
    drawn = speller.draw(streams(6_000), SamplingConfig(), set(kinds).__contains__)
    counts = np.array([drawn.count(kind) for kind in kinds])
    assert counts.sum() == len(drawn)
    probs = np.exp(speller.log_probs(kinds))
    assert chi_square_p(counts, probs / probs.sum()) > 1e-4


@pytest.mark.parametrize("options", [{}, {"temperature": 0.6, "top_p": 0.9}, {"top_k": 3}])
def test_a_drawn_spelling_is_a_function_of_its_stream(
    speller: Speller, options: dict[str, Any]
) -> None:
    """Alone or among others a stream gives the same word; it is new, and texts are cut into it."""
    tokenizer = train_tokenizer(TEXTS, level="word")
    config = SamplingConfig(**options)
    together = speller.draw(streams(50), config, tokenizer.is_unknown)
    alone = [speller.draw([one], config, tokenizer.is_unknown)[0] for one in streams(50)]
    assert together == alone
    assert all(map(tokenizer.is_unknown, together))
    assert len(set(together)) > (1 if options else 10)


def test_a_greedy_spelling_ends_where_it_fits(speller: Speller) -> None:
    """Temperature 0 gives the likeliest characters, with an end only behind a word that fits."""
    greedy = SamplingConfig(temperature=0)
    (free,) = speller.draw(streams(1), greedy, lambda kind: bool(kind))
    (longer,) = speller.draw(streams(1), greedy, lambda kind: len(kind) > len(free))
    assert longer.startswith(free)
    assert len(longer) > len(free)


def test_where_nothing_fits_there_is_no_spelling(speller: Speller) -> None:
    """<UNK> stays U+FFFD where no attempt gives a word, at every temperature."""
    for temperature in (0, 1):
        config = SamplingConfig(temperature=temperature)
        assert speller.draw(streams(2), config, lambda kind: False) == ["0\ufffd"] * 2
    assert speller.draw([], SamplingConfig(), bool) == []


def test_the_same_text_and_seed_make_the_same_speller(speller: Speller) -> None:
    """Bit for bit."""
    again = spelled(train_tokenizer(TEXTS, level="word"))
    assert again.log_known == speller.log_known
    for name, array in speller.weights.items():
        np.testing.assert_array_equal(array, again.weights[name])


@pytest.mark.parametrize("level", LEVELS)
def test_every_string_has_a_probability(level: str, speller: Speller) -> None:
    """Open is closed and the spelling of what is unknown; tokens add up; both engines agree."""
    vocab_size = 300 if level == "subword" else None
    tokenizer = train_tokenizer(TEXTS, level=level, vocab_size=vocab_size)
    model = model_of(tokenizer.vocab_size, std=0.2)
    unknown = unknown_of(tokenizer, speller if level == "word" else None)
    assert unknown is not None
    engines = [TorchEngine(model), NumpyEngine(model.config, to_arrays(model))]
    results = [
        score_texts(engine, tokenizer, STRANGE, unknown=unknown, per_token=True)
        for engine in engines
    ]
    closed = score_texts(engines[0], tokenizer, STRANGE)
    for text, one, other, symbol in zip(STRANGE, *results, closed, strict=True):
        assert math.isfinite(one.total_log_prob)
        assert one.total_log_prob == pytest.approx(other.total_log_prob, abs=1e-3)
        kinds = tokenizer.unknown(text)
        assert len(kinds) == one.num_oov
        spelling = float(unknown.log_probs(kinds).sum())
        assert one.total_log_prob == pytest.approx(symbol.total_log_prob + spelling, rel=1e-6)
        assert one.tokens is not None
        total = math.fsum(token.log_prob for token in one.tokens)
        assert total == pytest.approx(one.total_log_prob, rel=1e-9)
    assert any(score.num_oov for score in closed) == (level != "subword")


def test_nothing_is_unknown_at_subword_level() -> None:
    """Asking is a mistake."""
    assert NothingUnknown().log_probs([]).shape == (0,)
    with pytest.raises(UsageError):
        NothingUnknown().log_probs(["x"])


def test_a_checkpoint_keeps_its_speller(tmp_path: Path, speller: Speller) -> None:
    """Saved and loaded it says the same; without one a word model has closed scores alone."""
    texts = [*TEXTS, "a rare word"]
    material = material_of(texts, level="word")
    with_one = dataclasses.replace(material, speller=speller)
    trained_run(tmp_path / "open", material=with_one)
    trained_run(tmp_path / "closed", material=material)
    lm = charlm.load(tmp_path / "open")
    kinds = ["0xyzzy", "0\u2603"]
    assert lm.unknown is not None
    np.testing.assert_array_equal(lm.unknown.log_probs(kinds), speller.log_probs(kinds))
    assert lm.score("a xyzzy").total_log_prob < lm.score("a xyzzy", closed=True).total_log_prob - 5
    assert lm.score("a cat").total_log_prob == lm.score("a cat", closed=True).total_log_prob
    other = charlm.load(tmp_path / "closed")
    assert other.unknown is None
    assert other.score("a xyzzy") == other.score("a xyzzy", closed=True)


def damaged(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Headers that no speller wrote."""
    changes: list[tuple[str, Any]] = [
        ("log_known_nats", 0.5),
        ("log_known_nats", 0.0),
        ("log_known_nats", None),
        ("log_known_nats", float("nan")),
        ("model", {}),
        ("model", None),
        ("characters", []),
        ("characters", "abc"),
        ("characters", ["ab"]),
        ("characters", [*values["characters"], "☃"]),
    ]
    without = [{k: v for k, v in values.items() if k != name} for name in values]
    return without + [{**values, name: value} for name, value in changes]


def speller_of(folder: Path, files: Mapping[str, bytes]) -> Speller | None:
    """The speller of a step of these files."""
    return load_speller(StepFiles(save_step(folder, 1, files)))


def test_a_damaged_speller_is_refused(tmp_path: Path, speller: Speller) -> None:
    """Whatever is wrong in its files, it is a CheckpointError."""
    for values in damaged(speller.to_json()):
        with pytest.raises(CheckpointError):
            Speller.from_json(values, speller.weights)
    files = {
        "speller.json": json.dumps(speller.to_json()).encode(),
        "speller.safetensors": arrays_to_bytes(speller.weights),
    }
    wrong = {**speller.weights, "softmax.bias": np.zeros(3, dtype=np.float32)}
    for name, data in (
        ("speller.safetensors", arrays_to_bytes(wrong)),
        ("speller.safetensors", b"none"),
        ("speller.json", b"{}"),
    ):
        with pytest.raises(CheckpointError):
            speller_of(tmp_path, {**files, name: data})
    with pytest.raises(CheckpointError, match=r"speller\.safetensors"):
        speller_of(tmp_path, {"speller.json": files["speller.json"]})


def test_what_is_spelled_is_what_the_targets_hold() -> None:
    """As many unknown types as there are <UNK> among the ids of a text, at every level."""
    for level in LEVELS:
        vocab_size = 300 if level == "subword" else None
        tokenizer = train_tokenizer(TEXTS, level=level, vocab_size=vocab_size)
        targets = tokenize(tokenizer, STRANGE).ids
        kinds = [kind for text in STRANGE for kind in tokenizer.unknown(text)]
        assert int((targets == tokenizer.unk_id).sum()) == len(kinds)


NAMED = ["the <unk> sat on <unk>", "<unk>", "a dog ran to <unk> <unk>"]
PLAIN = ["the cat sat", ""]
SPELLED = ["the xyzzy sat on <unk>", "xyzzy"]


def cut_material() -> TextMaterial:
    """Words cut already, `<unk>` among them, with a speller and what may stand beside."""
    texts = [*TEXTS, "the <unk> sat on the <unk>"]
    tokenizer = train_tokenizer(texts, level="word", pretokenized=True, min_count=1)
    assert isinstance(tokenizer, WordTokenizer)
    speller = train_speller(count_types(texts, pretokenized=True), tokenizer, seed=3)
    return dataclasses.replace(
        material_of(), tokenizer=tokenizer, text=tokenize(tokenizer, texts), speller=speller
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of words cut already (two of one vocabulary, one that reads both sides), of letters."""
    path = tmp_path_factory.mktemp("named")
    for name, seed in (("a", 0), ("b", 1)):
        trained_run(path / name, material=cut_material(), num_steps=4, seed=seed)
    both = {"bidirectional": True}
    trained_run(path / "both", material=cut_material(), shape=both, num_steps=2)
    trained_run(path / "letters", num_steps=2)
    return path


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_the_name_of_what_is_unknown_is_not_spelled(
    home: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a text cut already `<unk>` is <UNK>, whole: open and closed figures are the same.

    By score, per token and per word, after a context, by evaluate, dynamic or not, in mixtures,
    from both sides; and where another word is unknown, that one alone is spelled.
    """
    one, other, both = (charlm.load(home / name) for name in ("a", "b", "both"))
    for lm in (one, mix([one, other])):
        monkeypatch.setattr(lm.engines, "kind_for", lambda *_: kind)
        for text in (*NAMED, *PLAIN):
            expected = lm.score(text, closed=True).total_log_prob
            detailed = lm.score(text, per_token=True, words=True)
            assert detailed.total_log_prob == pytest.approx(expected)
            assert sum(t.log_prob for t in detailed.tokens or ()) == pytest.approx(expected)
            assert sum(w.log_prob for w in detailed.words or ()) == pytest.approx(expected)
            assert detailed.num_oov == text.count("<unk>")
            given = {"context": "the <unk> ran "}
            after = lm.score(text, **given).total_log_prob
            assert after == pytest.approx(lm.score(text, closed=True, **given).total_log_prob)
        open_, closed = lm.evaluate(NAMED), lm.evaluate(NAMED, closed=True)
        assert open_.perplexity_per_token == pytest.approx(closed.perplexity_per_token)
        assert open_.spelling_log_prob == 0
        assert lm.unknown is not None
        for text in SPELLED:
            costs = lm.score(text).total_log_prob - lm.score(text, closed=True).total_log_prob
            assert costs == pytest.approx(float(lm.unknown.log_probs(["0xyzzy"])[0]))
            assert costs < -1
    learned = [one.evaluate(NAMED, closed=closed, rate=0.1) for closed in (False, True)]
    assert learned[0].total_log_prob == pytest.approx(learned[1].total_log_prob)
    pseudo = [both.pseudo_score(NAMED[0], closed=closed) for closed in (False, True)]
    assert pseudo[0].pseudo_log_likelihood == pytest.approx(pseudo[1].pseudo_log_likelihood)


def test_where_a_text_is_not_cut_the_same_letters_are_text(home: Path) -> None:
    """Characters spell `<unk>` as they spell any word."""
    lm = charlm.load(home / "letters")
    assert lm.score("<unk>").total_log_prob < lm.score("<unk>", closed=True).total_log_prob


def test_a_name_is_no_word_to_invent(home: Path) -> None:
    """Neither does a speller learn `<unk>` nor is it drawn as the spelling of something."""
    lm = charlm.load(home / "a")
    assert not lm.tokenizer.is_unknown("0<unk>")
    texts = [sample.text for sample in lm.sample(n=40, unk="spell", seed=1, max_tokens=40)]
    assert not any("<unk>" in text.split() for text in texts)
    assert any(sample.num_unknown for sample in lm.sample(n=40, unk="spell", max_tokens=40))


def test_what_is_kept_unknown_is_named(home: Path) -> None:
    """A sample of words cut already says `<unk>` for <UNK>, and scores as it was drawn."""
    lm = charlm.load(home / "a")
    samples = lm.sample(n=40, unk="keep", seed=1, max_tokens=60)
    assert sum(sample.num_unknown for sample in samples) > 10
    for sample in samples:
        assert sample.text.split().count("<unk>") == sample.num_unknown
        if sample.ended == "eos":
            assert lm.score(sample.text).total_log_prob == pytest.approx(sample.total_log_prob)
    stopped = lm.sample(n=40, unk="keep", seed=1, max_tokens=60, stop=("<unk>",))
    assert {sample.ended for sample in stopped if sample.num_unknown} == {"stop"}


def test_the_check_of_a_model_of_cut_text_passes_with_names_in_it(home: Path) -> None:
    """A sound model of such words is told to be sound, on text that names what is unknown."""
    checks = list(check_model(charlm.load(home / "a"), [*NAMED, *SPELLED]))
    assert [check.name for check in checks if not check.passed] == []
    assert any("spellings" in check.name for check in checks)


def test_filters_do_not_spell_the_name(home: Path) -> None:
    """On the command line: score, in a pipe too, and evaluate give the same with --closed."""
    model = ("--model", str(home / "a"))
    text = "".join(f"{line}\n" for line in NAMED[:2]).encode()
    for command in (("score", "--file", "-"), ("evaluate", "-")):
        figures = []
        for closed in ((), ("--closed",)):
            ended = run_charlm(*command, *model, "--json", *closed, stdin=text)
            assert ended.code == 0, ended.err
            rows = [json.loads(line) for line in ended.stdout.splitlines()]
            figures.append([row["total_log_prob_nats"] for row in rows])
        assert figures[0] == pytest.approx(figures[1])
