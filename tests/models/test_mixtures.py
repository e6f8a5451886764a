"""Laws of mixing: a network with its partner from training on, and several models as one."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charlm.checkpoints import directory
from charlm.checkpoints.language_model import Checkpoint
from charlm.checkpoints.run import Run
from charlm.config import SamplingConfig
from charlm.counts import ngram
from charlm.counts.cache import Cache
from charlm.counts.interpolation import Partner
from charlm.engines.mixture import check_weights, tune
from charlm.engines.torch_passes import token_log_probs
from charlm.errors import UsageError
from charlm.models.language_model import LanguageModel
from charlm.models.load import load_text_model
from charlm.models.mixtures import SequenceMixture, TokenMixture, mix
from charlm.novelty import text_index
from charlm.novelty.measure import index_of
from charlm.novelty.text_index import source_of
from charlm.text.corpus import sequence_hashes
from charlm.tokenizers.word import WordTokenizer
from charlm.tokenizers.word_chunks import count_types
from charlm.training.speller import train_speller
from charlm.training.task import Step
from charlm.training.texts.material import TextMaterial
from tests.support.cli import charlm, good
from tests.support.tiny import TEXTS, material_of, model_config, trained_run, training_config
from tests.support.trainers import fit, new_state, restore

HELD = ["the cat ran to the dog", "a dog is a dog is a dog"]
OTHERS = ["the dog sat", "q", "", "a cat! 你好"]


def partnered(level: str = "char") -> TextMaterial:
    """A text with n-grams and a cache to mix in, words with a speller."""
    material = material_of(level=level, valid=HELD)
    if isinstance(material.tokenizer, WordTokenizer):
        speller = train_speller(count_types(TEXTS), material.tokenizer, seed=3)
        material = dataclasses.replace(material, speller=speller)
    size = material.tokenizer.vocab_size
    counts = ngram.train(material.text.sequences(), size, 3)
    partner = Partner.new(counts, Cache(size, (0, 2), 50))
    return dataclasses.replace(material, partner=partner)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with models: of characters, one of them with a partner, and of words."""
    home = tmp_path_factory.mktemp("home")
    runs = home / "checkpoints"
    trained_run(runs / "chars", material=material_of(valid=HELD), num_steps=20)
    trained_run(runs / "others", material=material_of(valid=HELD), num_steps=5, seed=7)
    trained_run(runs / "partnered", material=partnered(), num_steps=20)
    trained_run(runs / "words", material=partnered("word"), num_steps=20)
    return home


def load(home: Path, name: str, **options: Any) -> LanguageModel:
    """A model of that home."""
    return load_text_model(home / "checkpoints" / name, **options)


def test_a_partner_is_fitted_saved_and_used(home: Path) -> None:
    """What training validated is what the loaded mixture gives, and better than either alone."""
    lm = load(home, "partnered")
    assert lm.partner is not None
    begun = partnered().partner
    assert begun is not None
    assert not np.array_equal(lm.partner.parameters, begun.parameters)
    total = sum(score.total_log_prob for score in lm.score_all(HELD))
    tokens = sum(score.num_tokens for score in lm.score_all(HELD))
    best = lm.checkpoint.info["best_loss_nats_per_token"]
    assert -total / tokens == pytest.approx(best, abs=1e-4)
    alone = load(home, "partnered", alone=True)
    network = sum(score.total_log_prob for score in alone.score_all(HELD))
    material = partnered()
    assert material.valid is not None
    assert network == pytest.approx(token_log_probs(alone.model, material.valid)[0].sum(), abs=1e-3)
    assert total > network
    assert begun.ngram is not None
    assert total > begun.ngram.token_log_probs(material.valid.sequences()).sum()


def test_resumed_it_is_fitted_as_if_never_stopped(tmp_path: Path) -> None:
    """Stopped between validations, gone on with from disk: the same log, weights and partner."""
    material = partnered()
    model = model_config(material)
    config = training_config(num_steps=9, validate_every=2)

    def train(path: Path, stop: int = 99) -> None:
        with Run(path) as run:
            if directory.steps(path):
                state = restore(run, model, config)
            else:
                run.begin({})
                state = new_state(model, config)
            steps = 0

            def should_stop() -> bool:
                return steps >= stop

            for event in fit(run, state, config, material, should_stop=should_stop):
                steps += isinstance(event, Step)

    train(tmp_path / "whole")
    for _ in range(4):
        train(tmp_path / "pieces", stop=3)
    ends = [Checkpoint.load(tmp_path / name / "step-00000009") for name in ("whole", "pieces")]
    one, other = (end.partner for end in ends)
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one.parameters, other.parameters)
    for name, array in ends[0].weights.items():
        np.testing.assert_array_equal(array, ends[1].weights[name])
    lines = [
        [json.loads(line)["valid_loss_nats_per_token"] for line in path.read_text().splitlines()]
        for path in (tmp_path / "whole/metrics.jsonl", tmp_path / "pieces/metrics.jsonl")
    ]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("weights", [(0.2, 0.8), (1.0, 0.0)])
def test_tokens_of_one_vocabulary_are_interpolated(
    home: Path, weights: tuple[float, float]
) -> None:
    """p of each token is the weighted sum; scores, figures and the next token follow from it."""
    models = [load(home, "chars"), load(home, "partnered")]
    both = mix(models, weights)
    assert isinstance(both, TokenMixture)
    for text in OTHERS:
        parts = [model.score(text, per_token=True, closed=True).tokens or () for model in models]
        p = [
            weights[0] * np.exp(a.log_prob) + weights[1] * np.exp(b.log_prob)
            for a, b in zip(*parts, strict=True)
        ]
        closed = both.score(text, closed=True).total_log_prob
        assert closed == pytest.approx(np.log(p).sum(), abs=1e-5 * len(p))
        listed = both.score(text, per_token=True, closed=True).tokens or ()
        assert sum(token.log_prob for token in listed) == pytest.approx(closed, abs=1e-4)
    total = sum(score.total_log_prob for score in both.score_all(OTHERS))
    assert both.evaluate(OTHERS).total_log_prob == pytest.approx(total, abs=1e-4)
    entries = both.next_tokens("the c", top=None).entries
    assert sum(entry.probability for entry in entries) == pytest.approx(1, abs=1e-5)
    if weights[1] == 0:
        alone = [sample.text for sample in models[0].sample(4, seed=0)]
        assert [sample.text for sample in both.sample(4, seed=0)] == alone
    drawn = both.sample(3, seed=5)
    assert [s.text for s in drawn] == [s.text for s in both.sample(8, seed=5)[:3]]
    for sample in drawn:
        assert both.score(sample.text).total_log_prob == pytest.approx(
            sample.total_log_prob, abs=1e-3
        )


def test_texts_of_any_models_are_mixed_by_probability(home: Path) -> None:
    """P(text) is the weighted sum over models, after a context that with earned weights."""
    models = [load(home, "partnered"), load(home, "words")]
    both = mix(models, (1.0, 3.0))
    assert isinstance(both, SequenceMixture)
    totals = np.array([[m.score(text).total_log_prob for text in OTHERS] for m in models])
    expected = np.logaddexp(np.log(0.25) + totals[0], np.log(0.75) + totals[1])
    found = [score.total_log_prob for score in both.score_all(OTHERS)]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    summary = both.evaluate(OTHERS)
    assert summary.total_log_prob == pytest.approx(expected.sum(), abs=1e-2)
    assert summary.characters == sum(map(len, OTHERS))
    assert summary.perplexity_per_word_excluding_eos is None


@pytest.mark.parametrize("weights", [(1.0, 3.0), (0.0, 1.0), (1.0, 0.0)])
def test_a_text_costs_the_same_wherever_it_is_cut(home: Path, weights: tuple[float, float]) -> None:
    """P(context and text) is P(a text begins with the context) times P(text given it).

    Wherever the cut is: before or behind a space, inside a word, at either end.
    """
    both = mix([load(home, "partnered"), load(home, "words")], weights)
    for text in ("the dog sat, the mats", "q ☃"):
        total = both.score(text).total_log_prob
        for cut in range(len(text) + 1):
            begun, rest = text[:cut], text[cut:]
            after = both.score(rest, context=begun).total_log_prob
            assert both.log_prob_begins(begun) + after == pytest.approx(total, abs=1e-3), begun
            assert after < 1e-3
    assert both.log_prob_begins("") == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("prompt", ["the dog", "the dog ", "the d", "the dog s"])
def test_a_prompt_decides_who_draws(home: Path, prompt: str) -> None:
    """Each model draws as often as its weight times P(a text begins with the prompt) says.

    The share is that of the beginning: of a text that ends there it would be another.
    """
    models = [load(home, "partnered"), load(home, "words")]
    both = mix(models, (0.4, 0.6))
    joint = np.log([0.4, 0.6]) + [model.log_prob_begins(prompt) for model in models]
    share = float(np.exp(joint[0] - np.logaddexp(*joint)))
    turns = [s.drawn_by for s in both.sample(500, prompt=prompt, max_tokens=1)]
    assert turns.count(0) / 500 == pytest.approx(share, abs=0.07)


def test_models_take_turns_by_their_weights(home: Path) -> None:
    """Which draws is a function of seed and index; each draws as it would alone."""
    models = [load(home, "partnered"), load(home, "words")]
    both = mix(models, (0.3, 0.7))
    drawn = both.sample(200, max_tokens=5, seed=0)
    turns = [sample.drawn_by for sample in drawn]
    assert 0.2 < turns.count(0) / 200 < 0.4
    alone = [model.sample(200, max_tokens=5, seed=0) for model in models]
    for index, sample in enumerate(drawn):
        assert sample.index == index
        assert sample.text == alone[sample.drawn_by or 0][index].text
    assert [s.drawn_by for s in both.sample(50, max_tokens=5, seed=0)] == turns[:50]
    assert [s.drawn_by for s in both.sample(50, max_tokens=5, seed=1)] != turns[:50]
    certain = mix(models, (0.0, 1.0)).sample(5, prompt="the ")
    assert {sample.drawn_by for sample in certain} == {1}


def test_tuning_finds_the_weights_that_fit(home: Path) -> None:
    """No other weights make the texts likelier; a partner's parameters can be tuned, too."""
    for others in ("others", "words"):
        both = mix([load(home, "partnered"), load(home, others)])
        best = both.tuned(HELD)
        assert isinstance(best, TokenMixture | SequenceMixture)
        value = best.evaluate(HELD).total_log_prob
        for weight in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0):
            tried = mix(best.models, (weight, 1 - weight))
            assert tried.evaluate(HELD).total_log_prob <= value + 1e-3
    lm = load(home, "partnered")
    texts = [text.upper() for text in TEXTS]
    assert lm.tuned(texts).evaluate(texts).total_log_prob > lm.evaluate(texts).total_log_prob
    with pytest.raises(UsageError, match="nothing to tune"):
        load(home, "chars").tuned(HELD)
    # Tokens drawn from one of two distributions: how often from which is what comes out.
    rng = np.random.default_rng(0)
    p = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]])
    turns = (rng.random(20_000) > 0.8).astype(int)
    drawn = (p.cumsum(axis=1)[turns] < rng.random((20_000, 1))).sum(axis=1)
    assert tune(np.log(p[:, drawn])) == pytest.approx((0.8, 0.2), abs=0.02)


@pytest.mark.parametrize("spread", [0.0, 1e-4, 0.02, 1.0, 300.0])
@pytest.mark.parametrize("number", [2, 3, 5])
def test_tuning_goes_on_to_the_optimum(spread: float, number: int) -> None:
    """However slowly EM alone would get there: at the optimum no model's mean p_k / p is above 1.

    Models that hardly differ, one that is worse everywhere, and models of whole texts, whose log P
    differ by hundreds.
    """
    rng = np.random.default_rng(int(1000 * spread) + number)
    log_probs = rng.normal(-3, 1, 20_000) + rng.normal(0, spread, (number, 20_000))
    log_probs[0] -= spread / 50
    weights = np.array(tune(log_probs))
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    with np.errstate(divide="ignore"):
        mixed_by = np.logaddexp.reduce(log_probs + np.log(weights)[:, None])
    gains = np.exp(log_probs - mixed_by).mean(axis=1)
    assert 20_000 * np.log(gains.max()) < 2e-4  # nats that any weights could still gain


def test_what_cannot_be_mixed_is_refused(home: Path) -> None:
    """Weights; and mixtures do not have what they could only refuse."""
    assert check_weights((), 4) == (0.25,) * 4
    assert check_weights((1, 3), 2) == (0.25, 0.75)
    for bad in ((1.0,), (1.0, -1.0), (0.0, 0.0), (float("nan"), 1.0), (float("inf"), 1.0)):
        with pytest.raises(UsageError):
            check_weights(bad, 2)
    both = mix([load(home, "chars"), load(home, "words")])
    alike = mix([load(home, "chars"), load(home, "others")])
    for lacks in ("next_tokens", "model", "labels", "with_label", "partner", "unknown", "engines"):
        assert not hasattr(both, lacks)
    for lacks in ("model", "labels", "with_label", "classify", "partner"):
        assert not hasattr(alike, lacks)
    for ask in (
        lambda: both.score("a", per_token=True),
        lambda: both.score("a", closed=True),
        lambda: both.evaluate(HELD, closed=True),
        lambda: both.evaluate(HELD, rate=0.1),
        lambda: alike.evaluate(HELD, rate=0.1),
    ):
        with pytest.raises(TypeError, match="unexpected keyword"):
            ask()


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of different texts that have learned them by heart, with their indexes."""
    home = tmp_path_factory.mktemp("homes")
    kinds = {
        "cats": (["the cat sat", "the cat ran"], "char"),
        "dogs": (["the dog sat", "the dog ran"], "char"),
        "words": (["The dogs sit", "the cats sit"], "word"),
    }
    for name, (texts, level) in kinds.items():
        material = material_of(level=level)
        if isinstance(material.tokenizer, WordTokenizer):
            speller = train_speller(count_types(TEXTS), material.tokenizer, seed=3)
            material = dataclasses.replace(material, speller=speller)
        known = sequence_hashes(texts)
        material = dataclasses.replace(material, known=known)
        run = trained_run(home / "checkpoints" / name, material=material, num_steps=2)
        text_index.save(run, index_of(source_of(texts)), "0")
    files = dataclasses.replace(material_of(), known=None, split_on="file")
    trained_run(home / "checkpoints" / "files", material=files, num_steps=2)
    return home


@pytest.mark.parametrize("second", ["dogs", "words"])
def test_what_any_model_was_trained_on_is_not_new(homes: Path, second: str) -> None:
    """Of a mixture known, index and samples are those of all training texts together."""
    models = [load(homes, "cats"), load(homes, second)]
    texts = {"dogs": "the dog sat", "words": "The dogs sit"}
    both = mix(models)
    for other in (both, mix(models[::-1]), mix([both.models[0], models[1]])):  # type: ignore[attr-defined]
        assert other.known is not None
        union = np.union1d(*[model.checkpoint.known for model in models])  # type: ignore[arg-type]
        np.testing.assert_array_equal(other.known, union)
        for text, stands in (("the cat sat", True), (texts[second], True), ("the cat", False)):
            assert other.stands_in_training(text) is stands
        found = other.novelty(["the cat sat", texts[second], "q"])
        assert [one.in_training_text for one in found.samples] == [True, True, False]
        assert [one.is_copied_whole for one in found.samples] == [True, True, False]
        copies = [one.copy for one in found.samples[:2]]
        assert {copy.sequence for copy in copies if copy is not None} == {1, 3}
        assert other.index.total == 4
        assert other.index.indexed == 1
    config = SamplingConfig(max_tokens=40)
    drawing = both.sampler(1, config)
    assert drawing.stands_in_training(texts[second])
    np.testing.assert_array_equal(drawing.known, both.known)
    if second == "dogs":
        assert both.index.sequences() == [
            "the cat sat",
            "the cat ran",
            "the dog sat",
            "the dog ran",
        ]
    same = mix([models[0], models[0]])
    assert same.index is models[0].index


@pytest.mark.parametrize("second", ["dogs", "words"])
def test_novel_samples_are_new_to_all(homes: Path, second: str) -> None:
    """A sample that stands in the other model's training text is said to, and drawn again."""
    models = [load(homes, "cats"), load(homes, second)]
    drawn = mix(models).sample(6, seed=1, max_tokens=3)
    assert not any(sample.in_training_text for sample in drawn)
    texts = [sample.text for sample in drawn]
    # As if those were what the second was trained on: the first must not draw them again.
    told = dataclasses.replace(models[1].checkpoint, known=sequence_hashes(texts))
    models[1] = LanguageModel(told)
    again = mix(models).sample(6, seed=1, max_tokens=3)
    assert [sample.text for sample in again] == texts
    assert all(sample.in_training_text for sample in again)
    new = mix(models).sample(6, seed=1, max_tokens=3, novel=True)
    assert not {sample.text for sample in new} & set(texts)


def test_one_that_does_not_know_its_text_is_asked_in_vain(homes: Path) -> None:
    """With a model of whole files nothing can be called new."""
    for models in (["cats", "files"], ["words", "files"]):
        both = mix([load(homes, name) for name in models])
        assert both.known is None
        assert both.stands_in_training("q") is None
        with pytest.raises(UsageError, match="whole files"):
            both.sample(1, novel=True)
        assert both.sample(1, max_tokens=2)[0].in_training_text is None


def test_words_after_a_context_are_those_of_the_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a mixture, of a model with its partner, and in every form the command line writes."""
    models = [load(home, "chars"), load(home, "partnered")]
    for lm in (*models, mix(models, (0.3, 0.7)), load(home, "words")):
        whole = lm.score("the dog sat", words=True).words
        after = lm.score(" sat", context="the dog", words=True).words
        assert whole is not None
        assert after is not None
        for mine, theirs in zip(after, whole[2:], strict=True):
            assert mine.text == theirs.text
            assert mine.log_prob == pytest.approx(theirs.log_prob, abs=1e-4)
    monkeypatch.chdir(home)
    expected = models[0].score("the dog sat", words=True).words
    assert expected is not None
    bits = expected[2].surprisal
    asked = ("score", "--model", "chars", "--words", "--context", "the dog")

    def asked_for(*arguments: str, stdin: bytes = b"") -> str:
        return good(*asked, *arguments, stdin=stdin).out

    as_json = json.loads(asked_for("--json", " sat"))["per_word"][0]
    as_lines = json.loads(asked_for("--jsonl", "--file", "-", stdin=b'{"text": " sat"}\n'))
    for row in (as_json, as_lines["per_word"][0]):
        assert row["word"] == "sat"
        assert row["surprisal_bits"] == pytest.approx(bits, abs=1e-4)
    assert f"{bits:.3f}"[:-1] in asked_for(" sat")
    page = tmp_path / "page.html"
    asked_for("--html", str(page), " sat")
    assert f"{bits:.3f}"[:-1] in page.read_text()
    # What is said of the text as a whole is log P of it, whatever its words add up to.
    total = models[0].score(" sat", context="the dog").total_log_prob
    assert f"<b>{total:.3f}"[:-1].replace("-", "−") in page.read_text()
    assert f"{-total / math.log(2):.2f} bits in total" in asked_for("--heatmap", " sat")


def test_on_the_command_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models, weights and tuning are options of the four commands; info tells of a partner."""
    monkeypatch.chdir(home)
    (home / "held.txt").write_text("\n".join(HELD) + "\n")
    both = ("--model", "partnered", "--model", "chars")
    code, shown, _ = charlm("score", *both, "--weights", "0.2,0.8", "--json", "the cat")
    models = [load(home, "partnered"), load(home, "chars")]
    expected = mix(models, (0.2, 0.8)).score("the cat").total_log_prob
    assert code == 0
    assert json.loads(shown)["total_log_prob_nats"] == pytest.approx(expected, abs=1e-4)
    code, shown, said = charlm("evaluate", *both, "--tune", "held.txt", "held.txt", "--json")
    assert code == 0
    tuned = mix(models).tuned(HELD)
    assert json.loads(shown)["total_log_prob_nats"] == pytest.approx(
        tuned.evaluate(HELD).total_log_prob, abs=1e-3
    )
    assert "weights: partnered 1.000, chars 0.000" in said
    code, shown, _ = charlm("next", "the", *both, "--json", "--top", "2")
    assert code == 0
    assert len(shown.splitlines()) == 2
    turns = ("--model", "words", "--model", "chars")
    code, shown, _ = charlm(
        "sample", *turns, "-n", "20", "--json", "--max-tokens", "4", "--seed", "0"
    )
    assert code == 0
    assert {json.loads(line)["model"] for line in shown.splitlines()} == {"words", "chars"}
    for models in (both, turns):  # models that take turns stream as well
        same = ("sample", *models, "-n", "6", "--max-tokens", "9", "--seed", "0")
        assert good(*same, "--stream").out == good(*same).out
    code, shown, _ = charlm("info", "--model", "partnered")
    assert "n-grams (up to 3), cache (50 tokens)" in shown
    code, shown, _ = charlm("score", "--model", "partnered", "--alone", "--json", "the cat")
    alone = load(home, "partnered", alone=True).score("the cat").total_log_prob
    assert json.loads(shown)["total_log_prob_nats"] == pytest.approx(alone, abs=1e-4)
    for wrong in (
        ("score", "--model", "chars", "--weights", "1", "x"),
        ("score", *both, "--weights", "1,2,3", "x"),
        ("score", *both, "--weights", "a,b", "x"),
        ("score", *both, "--weights", "1,1", "--tune", "held.txt", "x"),
        ("score", "--model", "chars", "--tune", "held.txt", "x"),
        ("score", *turns, "--per-token", "x"),
        ("next", *turns, "x"),
        ("evaluate", *turns, "--dynamic", "held.txt"),
    ):
        assert charlm(*wrong).code == 2, wrong
