"""Laws of sampling: the same seed, the same texts; what is reported is what the model says."""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config import SamplingConfig, TrainingConfig
from charlm.engines.numpy_lm import NumpyEngine
from charlm.engines.protocol import Engine
from charlm.engines.torch_lm import TorchEngine
from charlm.equations import language_model
from charlm.errors import CharlmError, UsageError
from charlm.inference.drawing import draw
from charlm.inference.sample import MOST_ATTEMPTS, Sample, Sampler
from charlm.inference.score import score_texts
from charlm.inference.unknown import Speller
from charlm.network_config import CausalConfig
from charlm.nn.network import to_arrays
from charlm.text.corpus import sequence_hashes
from charlm.text.tokens import tokenize
from charlm.tokenizers.word import WordTokenizer
from charlm.tokenizers.word_chunks import count_types
from charlm.training.speller import train_speller
from tests.support.sampling import heard
from tests.support.tiny import LEVELS, TEXTS, chi_square_p, model_of, tokenizer_of
from tests.support.trainers import new_state, train_steps

MEMORISED = "the quick brown fox jumps over the lazy dog!"


def sampler_of(level: str = "char", *, known: list[str] | None = None, **shape: Any) -> Sampler:
    """A sampler of a random model."""
    tokenizer = tokenizer_of(level)
    hashes = None if known is None else sequence_hashes(known)
    model = model_of(tokenizer.vocab_size, std=0.4, **shape)
    model.softmax.bias[tokenizer.eos_id] += np.log(tokenizer.vocab_size) / 2  # some end early
    return Sampler(TorchEngine(model), tokenizer, hashes)


@pytest.fixture(scope="module")
def speller() -> Speller:
    """The speller of the word tokenizer."""
    tokenizer = tokenizer_of("word")
    assert isinstance(tokenizer, WordTokenizer)
    return train_speller(count_types(TEXTS), tokenizer, seed=3)


def unknowing(level: str, speller: Speller | None = None, engine: str = "torch") -> Sampler:
    """A sampler of a random model that thinks much of <UNK>."""
    tokenizer = tokenizer_of(level)
    model = model_of(tokenizer.vocab_size, std=0.4, num_layers=2)
    model.softmax.bias[tokenizer.eos_id] += np.log(tokenizer.vocab_size) / 2
    model.softmax.bias[tokenizer.unk_id] += np.log(tokenizer.vocab_size) / 2
    made: Engine = TorchEngine(model)
    if engine == "numpy":
        made = NumpyEngine(model.config, to_arrays(model))
    return Sampler(made, tokenizer, speller=speller)


SAMPLERS = {level: sampler_of(level, num_layers=2) for level in LEVELS}


@pytest.fixture(scope="module")
def by_heart() -> Sampler:
    """A sampler of a model that has learned one sequence by heart."""
    tokenizer = tokenizer_of("char", [MEMORISED])
    text = tokenize(tokenizer, [MEMORISED])
    shape = CausalConfig(vocab_size=tokenizer.vocab_size, hidden_size=32, embedding_size=16)
    config = TrainingConfig(num_steps=150, learning_rate=0.02, warmup_steps=5, weight_decay=0.0)
    state = new_state(shape, config)
    for _ in train_steps(state, config, text):
        pass
    return Sampler(TorchEngine(state.module.eval()), tokenizer, sequence_hashes([MEMORISED]))


def drawn(sampler: Sampler, n: int, **options: Any) -> list[Sample]:
    """n samples; options are those of Sampler.sample or of SamplingConfig."""
    of_sample = {
        key: options.pop(key)
        for key in ("prompt", "novel", "batch_size", "on_token", "on_spelling")
        if key in options
    }
    config = SamplingConfig(**{"max_tokens": 30, "seed": 1, **options})
    return list(heard(sampler, n, config, **of_sample))


def tokens_of(
    sampler: Sampler, n: int, **options: Any
) -> tuple[list[Sample], dict[int, list[int]]]:
    """Samples, and the tokens of each."""
    ids: dict[int, list[int]] = defaultdict(list)
    samples = drawn(sampler, n, on_token=lambda i, token: ids[i].append(token), **options)
    return samples, ids


def exact_log_prob(sampler: Sampler, prompt: str, ids: list[int]) -> float:
    """log P of ids after a prompt, by the equations in double precision."""
    before = sampler.tokenizer.encode_prompt(prompt).tolist()
    inputs = np.array([[sampler.tokenizer.vocab_size, *before, *ids[:-1]]])
    weights = sampler.engine.reference()
    log_probs, _ = language_model.forward(sampler.engine.config.cell, weights, inputs)
    picked = language_model.token_log_probs(log_probs, np.array([[*before, *ids]]))
    return float(picked[0, len(before) :].sum())


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prompt": "the c", "temperature": 0.7, "top_k": 20},
        {"top_p": 0.8, "stop": ("a", "th")},
    ],
    ids=["plain", "prompt", "stop"],
)
def test_batch_size_changes_nothing(level: str, options: dict[str, Any]) -> None:
    """The same seed gives the same samples, in order of index, in batches of any size."""
    sampler, n = SAMPLERS[level], 70
    expected = drawn(sampler, n, batch_size=n, **options)
    assert [sample.index for sample in expected] == list(range(n))
    assert len({sample.text for sample in expected}) > 10
    assert len({sample.num_tokens for sample in expected}) > 3  # lanes end at different times
    for batch_size in (1, 3, 7, 64, n - 1, 500):
        samples = drawn(sampler, n, batch_size=batch_size, **options)
        for one, other in zip(samples, expected, strict=True):
            assert (one.index, one.text, one.num_tokens, one.ended) == (
                (other.index, other.text, other.num_tokens, other.ended)
            )
            assert one.total_log_prob == pytest.approx(other.total_log_prob, abs=1e-3)


@pytest.mark.parametrize("scale", [0.0, 0.1, 3.0], ids=["flat", "even", "peaked"])
@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.6, "top_k": 900}], ids=["plain", "top-k"]
)
def test_of_many_types_the_same_is_drawn_in_any_batch_and_on_any_engine(
    scale: float, options: dict[str, Any]
) -> None:
    """With 5,000 types the same seed gives the same ids, alone, in a batch, with NumPy and where
    every draw is made in double precision.
    """
    tokenizer = tokenizer_of("char", ["".join(map(chr, range(0x4E00, 0x4E00 + 4998)))] * 2)
    model = model_of(tokenizer.vocab_size, hidden_size=12)
    with torch.no_grad():
        model.softmax.weight.normal_(0, scale, generator=torch.Generator().manual_seed(1))
        model.softmax.bias -= min(scale, 1) * torch.arange(1, tokenizer.vocab_size + 1).log()
        model.softmax.bias[tokenizer.eos_id] -= 5  # few end at once
    torch_engine = TorchEngine(model)
    numpy_engine = NumpyEngine(model.config, to_arrays(model))
    expected = tokens_of(Sampler(torch_engine, tokenizer), 12, **options)[1]
    assert len({token for ids in expected.values() for token in ids}) > 20
    for engine, batch_size in ((torch_engine, 1), (torch_engine, 5), (numpy_engine, 7)):
        sampler = Sampler(engine, tokenizer)
        assert tokens_of(sampler, 12, batch_size=batch_size, **options)[1] == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draw, "SHARE_ERROR", 1e9)
        assert tokens_of(Sampler(numpy_engine, tokenizer), 12, **options)[1] == expected


@pytest.mark.parametrize("level", LEVELS)
def test_a_sequence_does_not_depend_on_how_many_follow(level: str) -> None:
    """Sequence i of a seed is the same whether 1, 5 or 60 are drawn."""
    texts = [sample.text for sample in drawn(SAMPLERS[level], 60)]
    for n in (0, 1, 5):
        assert [sample.text for sample in drawn(SAMPLERS[level], n)] == texts[:n]


def test_another_seed_gives_other_texts() -> None:
    """Two seeds, and two indices of one seed, draw differently."""
    one = [sample.text for sample in drawn(SAMPLERS["char"], 40, seed=1)]
    two = [sample.text for sample in drawn(SAMPLERS["char"], 40, seed=2)]
    assert sum(a == b for a, b in zip(one, two, strict=True)) < 5
    assert min(len({*one}), len({*two})) > 30


@pytest.mark.parametrize("n", [0, 1, 2, 255, 256, 257, 600])
def test_as_many_come_as_were_asked_for(n: int) -> None:
    """n samples come, also where they are more than fit in the ordinary batch."""
    samples = drawn(SAMPLERS["char"], n, max_tokens=3)
    assert [sample.index for sample in samples] == list(range(n))


def test_samples_come_when_they_are_done() -> None:
    """The first samples are yielded before the last ones are drawn."""
    seen: set[int] = set()
    config = SamplingConfig(max_tokens=5)
    samples = heard(SAMPLERS["char"], 100, config, batch_size=2, on_token=lambda i, _: seen.add(i))
    next(samples)
    assert max(seen) < 10


@pytest.mark.parametrize("level", LEVELS)
def test_rounding_in_the_logits_changes_no_text(
    level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise in the logits, of the size that the thresholds allow for, changes no text.

    Thresholds and noise are raised together ten thousandfold, so that without the exact arbiter
    nearly every text would differ.
    """
    sampler = sampler_of(level)
    expected = [sample.text for sample in drawn(sampler, 40)]
    step, rng = sampler.decoder.step, np.random.default_rng(0)

    def noisy(ids: np.ndarray, state: Any) -> Any:
        logits, after = step(ids, state)
        return logits + rng.uniform(-2e-2, 2e-2, logits.shape).astype(np.float32), after

    monkeypatch.setattr(sampler.decoder, "step", noisy)
    assert [sample.text for sample in drawn(sampler, 40)] != expected
    monkeypatch.setattr(draw, "SHARE_ERROR", 5e-2)
    monkeypatch.setattr(draw, "LOGIT_ERROR", 5e-2)
    assert [sample.text for sample in drawn(sampler, 40)] == expected


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0}, {"top_p": 0.7, "temperature": 0.5, "prompt": "a cat"}]
)
def test_the_exact_arbiter_agrees(
    level: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If everything is doubtful, every token is drawn in double precision: the same texts."""
    sampler = sampler_of(level, cell="gru", num_layers=2, tie_weights=True, output_layers=1)
    expected = drawn(sampler, 20, **options)
    asked = 0
    exactly = sampler._exact_logits

    def counted(*args: Any) -> Any:
        nonlocal asked
        asked += len(args[0])
        logits = exactly(*args)
        assert logits.dtype == np.float64
        return logits

    monkeypatch.setattr(sampler, "_exact_logits", counted)
    monkeypatch.setattr(draw, "SHARE_ERROR", 1e9)
    monkeypatch.setattr(draw, "LOGIT_ERROR", 1e9)
    exact = drawn(sampler, 20, **options)
    assert [sample.text for sample in exact] == [sample.text for sample in expected]
    assert asked == sum(sample.num_tokens for sample in exact)
    for one, other in zip(exact, expected, strict=True):
        assert one.total_log_prob == pytest.approx(other.total_log_prob, abs=1e-3)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("prompt", ["", "the cat", "the ", "mat\non", "Zürich ☃", "\n", " "])
def test_log_prob_is_that_of_the_tokens_after_the_prompt(level: str, prompt: str) -> None:
    """What is reported is log P(drawn tokens | prompt) at temperature 1, by the equations."""
    sampler = SAMPLERS[level]
    samples, ids = tokens_of(sampler, 12, prompt=prompt, temperature=0.8, top_k=30)
    for sample in samples:
        assert sample.num_tokens == len(ids[sample.index])
        expected = exact_log_prob(sampler, prompt, ids[sample.index])
        assert sample.total_log_prob == pytest.approx(expected, abs=1e-5 * sample.num_tokens)


def test_log_prob_is_that_of_scoring_the_text() -> None:
    """A sequence ended by <EOS> has the log-probability that scoring its text gives."""
    sampler = SAMPLERS["char"]
    ended = [s for s in drawn(sampler, 60, max_tokens=200, temperature=1.2) if s.ended == "eos"]
    assert len(ended) > 20
    scores = score_texts(sampler.engine, sampler.tokenizer, [sample.text for sample in ended])
    for sample, score in zip(ended, scores, strict=True):
        assert sample.num_tokens == score.num_tokens
        assert sample.total_log_prob == pytest.approx(
            score.total_log_prob, abs=1e-5 * score.num_tokens
        )


def test_frequencies_of_whole_sequences_match_the_model() -> None:
    """The first two tokens come as often as the chain rule says, <UNK> taken out, by chi-square."""
    tokenizer = tokenizer_of("char", ["abcd"])
    sampler = Sampler(TorchEngine(model_of(tokenizer.vocab_size, std=0.6)), tokenizer)
    vocab_size, unk = tokenizer.vocab_size, tokenizer.unk_id
    weights = sampler.engine.reference()

    def next_probs(*ids: int) -> np.ndarray:
        log_probs, _ = language_model.forward("lstm", weights, np.array([[vocab_size, *ids]]))
        return np.exp(language_model.without(log_probs[0, -1], unk))

    first = next_probs()
    expected = np.zeros((vocab_size, vocab_size))  # an ended sequence stands at (<EOS>, <EOS>)
    for kind in range(vocab_size):
        expected[kind] = first[kind] * next_probs(kind)
    expected[tokenizer.eos_id] = 0
    expected[tokenizer.eos_id, tokenizer.eos_id] = first[tokenizer.eos_id]
    _, ids = tokens_of(sampler, 20_000, max_tokens=2, batch_size=5_000)
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    for pair in ids.values():
        counts[pair[0], pair[-1]] += 1
    assert counts.sum() == 20_000
    assert chi_square_p(counts.ravel(), expected.ravel()) > 1e-4


@pytest.mark.parametrize("level", LEVELS)
def test_unk_is_never_drawn(level: str) -> None:
    """<UNK> does not come, not even from a model that thinks it the likeliest by far."""
    tokenizer = tokenizer_of(level)
    model = model_of(tokenizer.vocab_size)
    model.softmax.bias[tokenizer.unk_id] += 20
    for temperature in (0, 1):
        _, ids = tokens_of(Sampler(TorchEngine(model), tokenizer), 40, temperature=temperature)
        assert len(ids) == 40
        assert all(tokenizer.unk_id not in sequence for sequence in ids.values())


@pytest.mark.parametrize("level", ["char", "word"])
def test_a_kept_unk_comes_as_often_as_any_type(level: str) -> None:
    """With keep the first token follows the model's own distribution, by chi-square; <UNK> is
    counted, and U+FFFD in the text.
    """
    sampler = unknowing(level)
    samples, ids = tokens_of(sampler, 5_000, max_tokens=1, unknown="keep")
    start = np.array([[sampler.tokenizer.vocab_size]])
    log_probs, _ = language_model.forward("lstm", sampler.engine.reference(), start)
    counts = np.bincount(
        [first for (first,) in ids.values()], minlength=sampler.tokenizer.vocab_size
    )
    assert chi_square_p(counts, np.exp(log_probs[0, 0])) > 1e-4
    assert counts[sampler.tokenizer.unk_id] > 100
    for sample in samples:
        assert sample.num_unknown == sample.text.count("\ufffd")
    assert {sample.num_unknown for sample in drawn(sampler, 20)} == {0}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "unknown"), [("char", "keep"), ("word", "keep"), ("word", "spell")]
)
@pytest.mark.parametrize(
    "options",
    [{}, {"prompt": "the xyzzy", "temperature": 0.7}, {"stop": ("at", "o "), "top_p": 0.9}],
    ids=["plain", "prompt", "stop"],
)
def test_unknown_tokens_too_are_the_same_in_any_batch_and_on_any_engine(
    level: str, unknown: str, options: dict[str, Any], speller: Speller
) -> None:
    """The same seed gives the same samples, in batches of any size, with NumPy or with torch."""
    sampler, options = unknowing(level, speller), {"unknown": unknown, **options}
    expected = drawn(sampler, 40, **options)
    assert sum(sample.num_unknown for sample in expected) > 10
    others = [
        drawn(sampler, 40, batch_size=1, **options),
        drawn(sampler, 40, batch_size=7, **options),
        drawn(unknowing(level, speller, "numpy"), 40, **options),
    ]
    for samples in others:
        for one, other in zip(samples, expected, strict=True):
            assert (one.text, one.num_unknown, one.ended) == (
                (other.text, other.num_unknown, other.ended)
            )
            assert one.total_log_prob == pytest.approx(other.total_log_prob, abs=1e-3)


@pytest.mark.parametrize(
    ("level", "unknown"), [("char", "keep"), ("word", "keep"), ("word", "spell")]
)
def test_rounding_changes_no_text_with_unknown_tokens(
    level: str, unknown: str, speller: Speller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If everything is doubtful, every token is drawn in double precision: the same samples."""
    sampler = unknowing(level, speller)
    expected = drawn(sampler, 30, unknown=unknown)
    monkeypatch.setattr(draw, "SHARE_ERROR", 1e9)
    monkeypatch.setattr(draw, "LOGIT_ERROR", 1e9)
    exact = drawn(sampler, 30, unknown=unknown)
    assert [sample.text for sample in exact] == [sample.text for sample in expected]


def test_spelled_samples_have_the_probability_of_their_text(speller: Speller) -> None:
    """With spell, log P of a sample that ended by <EOS> is what scoring its text gives, whenever
    the text is cut into the same tokens and types. The tokens are those of keep.
    """
    sampler = unknowing("word", speller)
    tokenizer = sampler.tokenizer
    spelled: dict[int, list[str]] = defaultdict(list)
    samples, ids = tokens_of(
        sampler, 80, unknown="spell", on_spelling=lambda i, kind: spelled[i].append(kind)
    )
    assert ids == tokens_of(sampler, 80, unknown="keep")[1]
    same = 0
    for sample in samples:
        drawn_ids, kinds = ids[sample.index], spelled[sample.index]
        assert sample.num_unknown == drawn_ids.count(tokenizer.unk_id) == len(kinds)
        assert all(map(tokenizer.is_unknown, kinds))
        assert sample.text == tokenizer.decode(drawn_ids, kinds)
        again = [*tokenizer.encode(sample.text).tolist(), tokenizer.eos_id]
        if again == drawn_ids and tokenizer.unknown(sample.text) == kinds:
            (score,) = score_texts(sampler.engine, tokenizer, [sample.text], unknown=speller)
            assert sample.total_log_prob == pytest.approx(score.total_log_prob, abs=1e-4)
            same += bool(kinds)
    assert same > 10


@pytest.mark.slow
@pytest.mark.parametrize("stops", [("t",), ("a", " 1"), ("at t", "oo")])
def test_a_stop_string_ends_a_spelled_text(stops: tuple[str, ...], speller: Speller) -> None:
    """Letters of an invented word stop a text as those of any other."""
    sampler = unknowing("word", speller)
    for prompt in ("", "the xyzzy "):
        full = drawn(sampler, 60, unknown="spell", prompt=prompt)
        cut = drawn(sampler, 60, unknown="spell", prompt=prompt, stop=stops)
        for one, other in zip(cut, full, strict=True):
            expected = cut_at(other.text[len(prompt) :], stops)
            assert one.text == (other.text if expected is None else prompt + expected)


def test_an_invented_text_can_be_one_of_the_training_text(speller: Speller) -> None:
    """With novel, what was spelled is compared as well and drawn again."""
    sampler = unknowing("word", speller)
    before = [sample.text for sample in drawn(sampler, 30, unknown="spell", max_tokens=3)]
    sampler.known = sequence_hashes(before[::2])
    after = drawn(sampler, 30, unknown="spell", max_tokens=3, novel=True)
    for index, (sample, text) in enumerate(zip(after, before, strict=True)):
        assert sample.in_training_text is False
        assert (sample.text == text) == (text not in before[::2]), index


@pytest.mark.parametrize("batch_size", [1, 7])
def test_what_is_spelled_is_told_with_its_token(speller: Speller, batch_size: int) -> None:
    """A drawn <UNK> brings the type that it spells, other tokens bring none."""
    sampler = unknowing("word", speller)
    expected: dict[int, int] = defaultdict(int)
    told: dict[int, int] = defaultdict(int)

    def on_spelling(index: int, kind: str) -> None:
        assert sampler.tokenizer.is_unknown(kind)
        told[index] += 1

    def on_token(index: int, token: int) -> None:
        expected[index] += token == sampler.tokenizer.unk_id
        assert told[index] == expected[index]

    listening = {"on_token": on_token, "on_spelling": on_spelling, "batch_size": batch_size}
    drawn(sampler, 20, unknown="spell", **listening)
    assert sum(told.values()) > 10


def test_only_a_word_model_with_a_speller_spells(speller: Speller) -> None:
    """Character models and word models without a speller refuse; subwords know no <UNK>."""
    with pytest.raises(UsageError, match="character model"):
        drawn(unknowing("char"), 1, unknown="spell")
    with pytest.raises(UsageError, match="no speller"):
        drawn(unknowing("word"), 1, unknown="spell")
    sampler = unknowing("subword")
    expected = drawn(sampler, 20)
    for unknown in ("spell", "keep"):
        assert drawn(sampler, 20, unknown=unknown) == expected


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "prompt", ["", "the cat", "the cat ", "Zürich ☃", "a\nb\n", "on the mat,", "  ", "x"]
)
def test_text_begins_with_the_prompt(level: str, prompt: str) -> None:
    """A sample begins with the prompt to the letter, unseen characters too, and is its own text
    after it: the tokens that were drawn.
    """
    sampler = SAMPLERS[level]
    samples, ids = tokens_of(sampler, 30, prompt=prompt)
    for sample in samples:
        assert sample.text.startswith(prompt)
        alone = sampler.tokenizer.decode(ids[sample.index])
        after = sample.text[len(prompt) :]
        assert after.strip(" ") == alone.strip(" ")
        if level == "char":
            assert after == alone


@pytest.mark.parametrize("level", ["word", "subword"])
def test_a_trailing_space_is_not_doubled(level: str) -> None:
    """A prompt with its last space gives what the prompt without it gives, not two spaces."""
    sampler = SAMPLERS[level]
    spaced = drawn(sampler, 60, prompt="the cat ")
    plain = drawn(sampler, 60, prompt="the cat")
    agreeing = 0
    for one, other in zip(spaced, plain, strict=True):
        assert one.total_log_prob == other.total_log_prob
        if other.text.startswith("the cat "):
            assert one.text == other.text
            agreeing += 1
    assert agreeing > 0


def cut_at(text: str, stops: tuple[str, ...]) -> str | None:
    """The text before the first of the stop strings, None where there is none."""
    found = [text.find(stop) for stop in stops if stop in text]
    return text[: min(found)] if found else None


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("prompt", ["", "the cat", "the cat ", "on"])
@pytest.mark.parametrize(
    "stops",
    [("t",), (" ",), ("he", "at", " c"), (" the", ", ", "a c"), ("the cat",), ("cat sat", "b")],
)
def test_a_stop_string_ends_the_text_before_it(
    level: str, prompt: str, stops: tuple[str, ...]
) -> None:
    """With stop strings a text is what it would have been, cut before the first of them; what
    stands in the prompt does not count.
    """
    full = drawn(SAMPLERS[level], 60, prompt=prompt)
    cut = drawn(SAMPLERS[level], 60, prompt=prompt, stop=stops)
    for one, other in zip(cut, full, strict=True):
        expected = cut_at(other.text[len(prompt) :], stops)
        if expected is None:
            assert (one.text, one.ended) == (other.text, other.ended)
        else:
            assert one.ended == "stop"
            assert one.text == prompt + expected
            assert one.num_tokens <= other.num_tokens


@settings(max_examples=25, deadline=None)
@given(
    level=st.sampled_from(LEVELS),
    seed=st.integers(0, 10**6),
    start=st.integers(0, 40),
    length=st.integers(1, 12),
)
def test_a_stop_string_taken_from_the_text_is_found(
    level: str, seed: int, start: int, length: int
) -> None:
    """Any stretch of a text, however many tokens it spans, stops that text before its first
    occurrence.
    """
    (full,) = drawn(SAMPLERS[level], 1, seed=seed)
    stop = full.text[start : start + length]
    if not stop or "\ufffd" in stop:  # half a character may yet become one
        return
    (cut,) = drawn(SAMPLERS[level], 1, seed=seed, stop=(stop,))
    assert cut.ended == "stop"
    assert cut.text == full.text[: full.text.find(stop)]


def test_stop_strings_are_met_in_some_of_the_tests() -> None:
    """The stop strings above do occur: the tests of them are not empty."""
    for level, stops in (("char", ("he", "at")), ("word", (" the",)), ("subword", ("he", "at"))):
        samples = drawn(SAMPLERS[level], 60, prompt="on", stop=stops)
        assert {"stop"} < {sample.ended for sample in samples}


def test_a_stop_across_the_prompt_does_not_lift_the_limit() -> None:
    """Where a stop string begins in the prompt, it does not count, and max_tokens still does."""
    for level in LEVELS:
        for sample in drawn(SAMPLERS[level], 40, prompt="the ", stop=(" c", " a"), max_tokens=3):
            assert sample.num_tokens <= 3


@pytest.mark.parametrize("level", LEVELS)
def test_max_tokens_is_a_limit(level: str) -> None:
    """A sequence has at most max_tokens tokens, and says which of the two ended it."""
    sampler = SAMPLERS[level]
    long, long_ids = tokens_of(sampler, 50, max_tokens=40)
    for limit in (1, 2, 9):
        short, short_ids = tokens_of(sampler, 50, max_tokens=limit)
        for one, other in zip(short, long, strict=True):
            assert short_ids[one.index] == long_ids[one.index][:limit]
            ends = other.ended == "eos" and other.num_tokens <= limit
            assert one.ended == ("eos" if ends else "max_tokens")
            assert one.num_tokens == len(short_ids[one.index])


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_every_token_is_told(batch_size: int) -> None:
    """tokens() tells each token of each sequence, <EOS> too, in its order."""
    sampler = SAMPLERS["char"]
    samples, ids = tokens_of(sampler, 30, batch_size=batch_size, temperature=1.5)
    assert {sample.ended for sample in samples} == {"eos", "max_tokens"}
    for sample in samples:
        told = ids[sample.index]
        assert len(told) == sample.num_tokens
        assert sampler.tokenizer.decode(told) == sample.text
        assert (told[-1] == sampler.tokenizer.eos_id) == (sample.ended == "eos")
        assert sampler.tokenizer.eos_id not in told[:-1]


def test_in_training_text_is_told() -> None:
    """True for a training sequence to the letter, False for others, None where it is not known."""
    texts = [sample.text for sample in drawn(sampler_of(), 40)]
    sampler = sampler_of(known=[*texts[:7], "never drawn"])
    told = [sample.in_training_text for sample in drawn(sampler, 40)]
    assert told == [text in texts[:7] for text in texts]
    assert {sample.in_training_text for sample in drawn(sampler_of(), 5)} == {None}
    assert {s.in_training_text for s in drawn(sampler_of(known=[]), 5)} == {False}
    # A prompt is part of what is compared.
    (prompted,) = drawn(sampler_of(), 1, prompt="the")
    (again,) = drawn(sampler_of(known=[prompted.text]), 1, prompt="the")
    assert again.in_training_text is True


@pytest.mark.parametrize("batch_size", [1, 3, 200])
def test_novel_draws_again_what_is_known(batch_size: int) -> None:
    """With novel, sequences of the training text are drawn anew and the others stay."""
    plain = [sample.text for sample in drawn(sampler_of(), 40, max_tokens=4)]
    known = plain[::3]
    sampler = sampler_of(known=known)
    novel = drawn(sampler, 40, max_tokens=4, novel=True, batch_size=batch_size)
    assert [sample.index for sample in novel] == list(range(40))
    for sample, before in zip(novel, plain, strict=True):
        assert sample.in_training_text is False
        assert sample.text not in known
        if before not in known:
            assert sample.text == before
    whole = drawn(sampler, 40, max_tokens=4, novel=True)
    assert [sample.text for sample in novel] == [sample.text for sample in whole]


def test_novel_gives_up_after_a_hundred_attempts(by_heart: Sampler) -> None:
    """A model that says only what it learned is asked 100 times, then the cure is named."""
    said: list[int] = []
    config = SamplingConfig(temperature=0)
    samples = heard(by_heart, 1, config, novel=True, on_token=lambda _, token: said.append(token))
    with pytest.raises(CharlmError, match=r"by heart.*temperature"):
        next(samples)
    assert said.count(by_heart.tokenizer.eos_id) == MOST_ATTEMPTS == 100


def test_novel_needs_to_know_the_training_text() -> None:
    """Novelty cannot be asked of a model that was trained on whole files."""
    with pytest.raises(UsageError, match="novel"):
        drawn(sampler_of(), 1, novel=True)


def test_what_was_learned_by_heart_is_recited(by_heart: Sampler) -> None:
    """A model trained on one sequence says it greedily, from the start and from a prompt."""
    for prompt in ("", MEMORISED[:10], MEMORISED):
        (sample,) = drawn(by_heart, 1, temperature=0, prompt=prompt, max_tokens=100)
        assert sample.text == MEMORISED
        assert sample.ended == "eos"
        assert sample.in_training_text is True
    assert drawn(by_heart, 1, top_k=1, max_tokens=100)[0].text == MEMORISED


def test_reference_weights_are_the_model() -> None:
    """The double precision weights give the model's own log-probabilities, to 1e-5."""
    for shape in ({}, {"tie_weights": True, "embedding_size": 5}, {"output_layers": 2}):
        model = model_of(9, num_layers=2, std=0.3, **shape)
        inputs = torch.tensor([[9, 1, 2, 3, 4, 5]])
        exact, _ = language_model.forward("lstm", TorchEngine(model).reference(), inputs.numpy())
        assert exact.dtype == np.float64
        rows = model(inputs, model.init_state(1))[0].log_softmax(2)
        np.testing.assert_allclose(rows.numpy(), exact, atol=1e-5, rtol=0)


def test_sampling_is_lazy() -> None:
    """Nothing is drawn before the first sample is asked for."""
    said: list[int] = []
    samples = heard(SAMPLERS["char"], 3, SamplingConfig(), on_token=lambda i, _: said.append(i))
    assert not said
    assert next(samples).index == 0
    assert said


def test_texts_of_the_tests_are_known_to_their_tokenizers() -> None:
    """The tiny tokenizers give back the tiny texts, so the tests above test sampling."""
    for level in LEVELS:
        tokenizer = SAMPLERS[level].tokenizer
        assert [tokenizer.decode(tokenizer.encode(text)) for text in TEXTS] == TEXTS
