"""Laws of scoring: probabilities that add up, and a score that depends on the text alone."""

import dataclasses
import itertools
import math
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from charlm import metrics
from charlm.config import CELLS
from charlm.engines import torch_passes
from charlm.engines.torch_lm import TorchEngine
from charlm.engines.torch_passes import quick_log_probs, token_log_probs
from charlm.equations import language_model
from charlm.inference.score import TextScore, score_texts
from charlm.nn.causal import RecurrentLM
from charlm.nn.network import flatten_targets
from charlm.nn.windows import PADDING, Rows, group_rows
from charlm.text.tokens import TokenizedText, from_ids, tokenize
from charlm.tokenizers import Tokenizer, train_tokenizer
from tests.support.tiny import EOS, mean_loss, text_of_lengths, tiny_model

LETTERS = "abcdefgh "


def letters_model(**fields: object) -> tuple[RecurrentLM, Tokenizer]:
    """A tokenizer of nine characters and a model of its size."""
    tokenizer = train_tokenizer([LETTERS], level="char")
    return tiny_model(vocab_size=tokenizer.vocab_size, **fields), tokenizer


def random_texts(n: int, longest: int, seed: int = 0) -> list[str]:
    """Texts of 0 to longest characters, "x" (which is unknown) among them."""
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice([*LETTERS, "x"], rng.integers(0, longest + 1))) for _ in range(n)]


def by_the_equations(model: RecurrentLM, text: TokenizedText) -> NDArray[np.float64]:
    """log P of each target, one sequence after another, in double precision."""
    weights, values = TorchEngine(model).reference(), []
    for begin, end in itertools.pairwise(text.starts.tolist()):
        inputs, targets = text.inputs(np.arange(begin, end)), text.ids[begin:end]
        log_probs, _ = language_model.forward(model.config.cell, weights, inputs[None])
        values.append(language_model.token_log_probs(log_probs, targets[None])[0])
    return np.concatenate(values)


@pytest.mark.parametrize("cell", CELLS)
def test_every_token_has_the_probability_of_the_equations(cell: str) -> None:
    """log P of each token is that of the NumPy reference, <EOS> and first token included."""
    model = tiny_model(cell=cell, num_layers=2, output_layers=1, tie_weights=True)
    text = text_of_lengths([1, 2, 30, 7, 300, 7, 1])
    log_probs, details = token_log_probs(model, text)
    assert log_probs.dtype == np.float64
    assert details is None
    np.testing.assert_allclose(log_probs, by_the_equations(model, text), rtol=0, atol=1e-5)


def test_ranks_count_what_is_likelier() -> None:
    """Rank 1 is the likeliest type of all at its place, and V the least likely."""
    model = tiny_model()
    text = text_of_lengths([1, 40, 3, 3, 20])
    log_probs, details = token_log_probs(model, text, details=True)
    assert details is not None
    weights = TorchEngine(model).reference()
    expected = []
    for begin, end in itertools.pairwise(text.starts.tolist()):
        table, _ = language_model.forward("lstm", weights, text.inputs(np.arange(begin, end))[None])
        for row, target in zip(table[0], text.ids[begin:end].tolist(), strict=True):
            expected.append(1 + sum(p > row[target] for p in row))
    assert details.ranks.tolist() == expected
    assert set(expected) > {1, 7}
    np.testing.assert_array_equal(token_log_probs(model, text)[0], log_probs)


def test_equal_logits_share_the_best_rank() -> None:
    """Where every type is as likely, each is the likeliest, and perplexity is vocab_size."""
    model, tokenizer = letters_model()
    with torch.no_grad():
        model.softmax.weight.zero_()
        model.softmax.bias.fill_(2.5)
    (score,) = score_texts(TorchEngine(model), tokenizer, ["abba"], per_token=True)
    assert score.tokens is not None
    assert [token.rank for token in score.tokens] == [1] * 5
    assert score.perplexity == pytest.approx(tokenizer.vocab_size, rel=1e-6)
    assert score.total_log_prob == pytest.approx(-5 * math.log(tokenizer.vocab_size), rel=1e-6)


def test_the_next_token_is_certain_to_be_some_type() -> None:
    """After every context the probabilities of all types of the vocabulary add up to 1."""
    model = tiny_model(vocab_size=5)
    for context in itertools.chain.from_iterable(
        itertools.product((0, 2, 3, 4), repeat=n) for n in range(4)
    ):
        continued = [np.array([*context, token], dtype=np.int32) for token in range(5)]
        text = from_ids(continued, 5)
        log_probs, _ = token_log_probs(model, text)
        assert math.fsum(np.exp(log_probs[text.starts[1:] - 1])) == pytest.approx(1, abs=1e-6)


def test_all_texts_together_have_probability_one() -> None:
    """Every text of up to three tokens, and every beginning of a longer one, add up to 1."""
    model = tiny_model(vocab_size=5)
    types = (0, 2, 3, 4)  # <EOS> ends a text
    ended = [
        np.array([*ids, EOS], dtype=np.int32)
        for n in range(4)
        for ids in itertools.product(types, repeat=n)
    ]
    going_on = [np.array(ids, dtype=np.int32) for ids in itertools.product(types, repeat=4)]
    text = from_ids(ended + going_on, 5)
    log_probs, _ = token_log_probs(model, text)
    totals = np.add.reduceat(log_probs, text.starts[:-1])
    assert len(totals) == 1 + 4 + 16 + 64 + 256
    assert math.fsum(np.exp(totals)) == pytest.approx(1, abs=1e-6)


def test_a_total_is_the_sum_of_its_tokens() -> None:
    """Each text's log-probability is that of its tokens, with one for every character and <EOS>."""
    model, tokenizer = letters_model()
    texts = random_texts(60, 80)
    for text, score in zip(
        texts, score_texts(TorchEngine(model), tokenizer, texts, per_token=True), strict=True
    ):
        assert score.text == text
        assert score.tokens is not None
        pieces = ["<UNK>" if character == "x" else character for character in text]
        assert [token.piece for token in score.tokens] == [*pieces, "<EOS>"]
        assert len(score.tokens) == score.num_tokens == len(text) + 1
        assert score.num_oov == text.count("x")
        assert score.total_log_prob == pytest.approx(
            math.fsum(token.log_prob for token in score.tokens), rel=1e-12
        )
        bits = math.fsum(token.surprisal for token in score.tokens)
        assert -score.total_log_prob / math.log(2) == pytest.approx(bits, rel=1e-12)
        assert score.perplexity == pytest.approx(2 ** (bits / score.num_tokens), rel=1e-9)
        if text:
            assert score.bits_per_character == pytest.approx(bits / len(text), rel=1e-12)


def test_sums_are_in_double_precision() -> None:
    """Forty thousand tokens add up as exactly as fsum adds them: no float32 running sum."""
    model, tokenizer = letters_model()
    text = "".join(np.random.default_rng(0).choice(list(LETTERS), 40_000))
    (score,) = score_texts(TorchEngine(model), tokenizer, [text], per_token=True)
    assert score.tokens is not None
    log_probs = [token.log_prob for token in score.tokens]
    exact = math.fsum(log_probs)
    assert abs(score.total_log_prob - exact) < 1e-12 * abs(exact)
    single = float(np.cumsum(np.array(log_probs, dtype=np.float32))[-1])
    assert abs(single - exact) > 1e-8 * abs(exact)  # which is what would be seen otherwise


def test_a_score_depends_on_the_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone or among 200 others, in whatever order, window and batch: 1e-5 nats a token.

    And one pass over a text is any chunking of it: windows of 7 tokens, or one of thousands.
    """
    model, tokenizer = letters_model(cell="gru", num_layers=2)
    texts = [*random_texts(190, 60), *random_texts(10, 900, seed=1)]
    together = score_texts(TorchEngine(model), tokenizer, texts)

    def check(scores: list[TextScore]) -> None:
        for score, expected in zip(scores, together, strict=True):
            assert score.text == expected.text
            assert score.num_tokens == expected.num_tokens
            assert score.num_oov == expected.num_oov
            difference = abs(score.total_log_prob - expected.total_log_prob)
            assert difference <= 1e-5 * score.num_tokens

    check([score_texts(TorchEngine(model), tokenizer, [text])[0] for text in texts])
    order = np.random.default_rng(2).permutation(len(texts))
    shuffled = score_texts(TorchEngine(model), tokenizer, [texts[i] for i in order])
    check([shuffled[i] for i in np.argsort(order)])
    twice = score_texts(TorchEngine(model), tokenizer, texts + texts)
    check(twice[: len(texts)])
    check(twice[len(texts) :])
    check(score_texts(TorchEngine(model), tokenizer, texts, per_token=True))
    for window, tokens in ((7, 50), (64, 64), (10_000, 10_000), (256, 1)):
        monkeypatch.setattr(torch_passes, "_WINDOW", window)
        monkeypatch.setattr(torch_passes, "_TOKENS", tokens)
        check(score_texts(TorchEngine(model), tokenizer, texts))
    monkeypatch.setattr(torch_passes, "_LOGITS", 3 * tokenizer.vocab_size)  # three places at a time
    check(score_texts(TorchEngine(model), tokenizer, texts, per_token=True))


def test_a_very_long_text_is_read_as_one() -> None:
    """Past many windows a score is still that of the whole text before it, by the equations."""
    model = tiny_model(cell="rnn-tanh")
    text = text_of_lengths([3 * torch_passes._WINDOW + 5])
    log_probs, _ = token_log_probs(model, text)
    np.testing.assert_allclose(log_probs, by_the_equations(model, text), rtol=0, atol=1e-5)
    # The state does cross from window to window: a window read on its own differs.
    start = torch_passes._WINDOW
    tail = text.ids[start:]
    alone, _ = token_log_probs(model, from_ids([tail], 7))
    assert abs(alone[0] - log_probs[start]) > 1e-3


def test_an_empty_text_scores_its_end() -> None:
    """The probability of no text is that of <EOS> at once; it has no bits per character."""
    model, tokenizer = letters_model()
    (score,) = score_texts(TorchEngine(model), tokenizer, [""], per_token=True)
    weights = TorchEngine(model).reference()
    first, _ = language_model.forward("lstm", weights, np.array([[tokenizer.vocab_size]]))
    assert score.total_log_prob == pytest.approx(first[0, 0, tokenizer.eos_id], abs=1e-5)
    assert score.num_tokens == 1
    assert score.num_oov == 0
    assert score.bits_per_character is None
    assert score.tokens is not None
    assert [token.piece for token in score.tokens] == ["<EOS>"]
    assert score_texts(TorchEngine(model), tokenizer, []) == []
    (end,) = score_texts(TorchEngine(model), tokenizer, ["", "ab", ""], per_token=False)[2:]
    assert end.total_log_prob == pytest.approx(score.total_log_prob, abs=1e-5)
    assert end.tokens is None


def test_unknown_tokens_are_scored_as_unk_and_counted() -> None:
    """A character outside the vocabulary is <UNK>: it has <UNK>'s probability and is counted."""
    model, tokenizer = letters_model()
    one, other, known = score_texts(
        TorchEngine(model), tokenizer, ["axe", "aze", "abe"], per_token=True
    )
    assert (one.num_oov, other.num_oov, known.num_oov) == (1, 1, 0)
    assert one.total_log_prob == pytest.approx(other.total_log_prob, abs=1e-6)
    assert one.tokens is not None
    assert one.tokens[1].piece == "<UNK>"


def test_a_score_shows_what_no_float_holds() -> None:
    """The probability of a long text is shown though it underflows, with the right exponent."""
    model, tokenizer = letters_model()
    (score,) = score_texts(TorchEngine(model), tokenizer, ["abcdefgh " * 300])
    assert math.exp(score.total_log_prob) == 0
    assert score.probability == metrics.scientific(score.total_log_prob)
    exponent = int(score.probability.split("e")[1])
    assert exponent == math.floor(score.total_log_prob / math.log(10))


@pytest.mark.parametrize("sizes", [(3, 20, 200), (14, 64, 2048), (1, 5, 90)])
def test_mean_loss_is_exact_for_short_sequences(sizes: tuple[int, int, int]) -> None:
    """Where no sequence is cut, the quick figure of a run is the exact one."""
    batch_size, bptt_length, segment_length = sizes
    model = tiny_model(num_layers=2)
    text = text_of_lengths([1, 1, 2, 5, 90, 90, 33, 4, 71, *range(1, 60)])
    log_probs, _ = token_log_probs(model, text)
    quick = mean_loss(
        model,
        text,
        batch_size=batch_size,
        bptt_length=bptt_length,
        segment_length=segment_length,
    )
    assert quick == pytest.approx(-log_probs.mean(), rel=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn-tanh"])
def test_mean_loss_is_near_for_long_ones(cell: str) -> None:
    """Of sequences that are cut, every token counts once and the loss is within 1 %."""
    model = tiny_model(cell=cell)
    text = text_of_lengths([3000, 40, 1200, 7])
    log_probs, _ = token_log_probs(model, text)
    quick = mean_loss(model, text, batch_size=8, bptt_length=16, segment_length=64)
    assert quick == pytest.approx(-log_probs.mean(), rel=0.01)


def test_a_quick_validation_knows_which_targets_it_read() -> None:
    """Of sequences that are read whole, each figure is the exact one of the place it names."""
    model = tiny_model()
    rng = np.random.default_rng(3)
    text = from_ids([rng.integers(0, 7, size=n).astype(np.int32) for n in (5, 1, 9, 12, 3)], 7)
    sizes = {"batch_size": 2, "bptt_length": 4, "segment_length": 64}
    places, log_probs = quick_log_probs(model, text, **sizes)
    np.testing.assert_array_equal(np.sort(places), np.arange(text.num_tokens))
    np.testing.assert_allclose(log_probs, token_log_probs(model, text)[0][places], atol=1e-5)


def test_mean_loss_warms_up_before_it_counts() -> None:
    """A piece is read after the window before it, so a cut costs a model with memory nothing.

    A text of a period that only memory tells: without the warm-up each piece would begin blind.
    """
    model = tiny_model()
    with torch.no_grad():
        for parameter in model.layers.parameters():
            parameter.mul_(2)
    text = text_of_lengths([4000])
    exact = -token_log_probs(model, text)[0]
    quick = mean_loss(model, text, batch_size=40, bptt_length=10, segment_length=10)
    pieces = [text.ids[at : at + 10] for at in range(0, 4000, 10)]
    blind = -token_log_probs(model, from_ids(pieces, 7))[0].mean()
    assert abs(quick - exact.mean()) < 0.1 * abs(blind - exact.mean())


@pytest.mark.parametrize("lengths", [[3000, 40, 1200, 7], [1, 9, 33, 90, 5, 90]])
def test_a_limit_that_is_none_changes_nothing(
    lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """mean_loss of at most 0, as many or more tokens than there are is that of the whole text.

    And it is the same, but for rounding, however many logits are made at a time.
    """
    model, text = tiny_model(num_layers=2, output_layers=1), text_of_lengths(lengths)
    sizes = {"batch_size": 8, "bptt_length": 16, "segment_length": 64}
    whole = mean_loss(model, text, **sizes)
    for most in (0, text.num_tokens, text.num_tokens + 1, 10**12):
        assert mean_loss(model, text, **sizes, most_tokens=most) == whole
    assert mean_loss(model, text, **sizes, most_tokens=text.num_tokens // 2) != whole
    monkeypatch.setattr(torch_passes, "_LOGITS", 3 * 7)
    assert mean_loss(model, text, **sizes) == pytest.approx(whole, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=40),
    share=st.floats(0, 1, exclude_min=True),
    batch_size=st.integers(1, 20),
)
def test_a_limited_mean_loss_is_that_of_what_it_reads(
    lengths: list[int], share: float, batch_size: int
) -> None:
    """Of sequences that are not cut, the share asked for is read, from all over the text.

    The figure is the exact mean over their tokens, each counted once.
    """
    model, text = tiny_model(), text_of_lengths(lengths)
    most = max(1, int(share * text.num_tokens))
    rows: list[Rows] = []

    def noted(of: Rows, **options: Any) -> list[Rows]:
        rows.append(of)
        return group_rows(of, **options)

    with mock.patch.object(torch_passes, "group_rows", noted):
        quick = mean_loss(
            model,
            text,
            batch_size=batch_size,
            bptt_length=8,
            segment_length=60,
            most_tokens=most,
        )
    (read,) = rows
    chosen = np.searchsorted(text.starts, read.begin)
    assert (text.starts[chosen] == read.begin).all()
    assert (text.starts[chosen + 1] == read.end).all()
    if most == text.num_tokens:
        assert chosen.tolist() == list(range(len(lengths)))
    else:
        assert len(chosen) == max(1, round(most / text.num_tokens * len(lengths)))
        assert len({*chosen.tolist()}) == len(chosen)
        every = len(lengths) / len(chosen)
        gaps = np.diff([-every / 2, *chosen, len(lengths) - 1 + every / 2])
        assert ((gaps > every - 1.01) & (gaps < every + 1.01)).all()
    log_probs = token_log_probs(model, text)[0]
    parts = [log_probs[text.starts[i] : text.starts[i + 1]] for i in chosen]
    assert quick == pytest.approx(-np.concatenate(parts).mean(), rel=1e-5)


@pytest.mark.parametrize("most", [500, 2000, 7000])
def test_a_limited_mean_loss_is_near_the_whole(most: int) -> None:
    """Of a text alike everywhere, one sequence or many, a part gives the figure within 5 %.

    About so many tokens count as were asked for.
    """
    model = tiny_model()
    for lengths in ([9000], [3000, 2000, 40, 1200, 7, 2800], [30] * 300):
        text = text_of_lengths(lengths)
        sizes = {"batch_size": 8, "bptt_length": 16, "segment_length": 64}
        whole = mean_loss(model, text, **sizes)
        with mock.patch.object(torch_passes, "flatten_targets", wraps=flatten_targets) as flatten:
            part = mean_loss(model, text, **sizes, most_tokens=most)
        counted = sum(int((call.args[1] != PADDING).sum()) for call in flatten.call_args_list)
        assert counted == pytest.approx(most, rel=0.2)
        assert part == pytest.approx(whole, rel=0.05)


def test_scoring_leaves_no_graph_and_no_random_number() -> None:
    """Scoring keeps nothing for gradients, draws no number and leaves the weights alone."""
    model, tokenizer = letters_model(dropout=0.5, num_layers=2)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = torch.get_rng_state()
    first = score_texts(TorchEngine(model), tokenizer, ["abc", "defg"])
    assert score_texts(TorchEngine(model), tokenizer, ["abc", "defg"]) == first
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(weights[name], t) for name, t in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    plain, _ = letters_model(num_layers=2)
    plain.load_state_dict(weights)
    for score, expected in zip(
        first, score_texts(TorchEngine(plain), tokenizer, ["abc", "defg"]), strict=True
    ):
        assert dataclasses.replace(score) == expected


@pytest.mark.parametrize("level", ["char", "word", "subword"])
def test_tokens_of_every_level_cover_the_text(level: str) -> None:
    """At every level a score counts the tokens of its tokenizer and <EOS>, and adds them up."""
    corpus = ["the cat sat on the mat", "the dog sat on the log", "a cat and a dog"] * 4
    tokenizer = train_tokenizer(corpus, level=level)
    model = tiny_model(vocab_size=tokenizer.vocab_size)
    tokenized = tokenize(tokenizer, corpus)
    scores = score_texts(TorchEngine(model), tokenizer, corpus, per_token=True)
    assert sum(score.num_tokens for score in scores) == tokenized.num_tokens
    for score in scores:
        assert score.tokens is not None
        assert len(score.tokens) == len(tokenizer.encode(score.text)) + 1
        assert score.bits_per_character == pytest.approx(
            -score.total_log_prob / math.log(2) / len(score.text)
        )
    assert scores[0].total_log_prob == pytest.approx(scores[3].total_log_prob, abs=1e-4)
