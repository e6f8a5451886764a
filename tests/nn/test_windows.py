"""Laws of the batches: every token is a target once, its input the one before it, little waste."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from charlm.nn.windows import (
    PADDING,
    Rows,
    cut_rows,
    epoch_groups,
    group_rows,
    num_windows,
    read_window,
    read_windows,
)
from charlm.text.tokens import TokenizedText, from_ids, tokenize
from charlm.tokenizers import train_tokenizer
from tests.support.tiny import text_of_lengths

# Lengths of sequences: all short, some very long, or all of one length.
LENGTHS = st.one_of(
    st.lists(st.integers(1, 30), min_size=1, max_size=120),
    st.lists(st.one_of(st.integers(1, 40), st.integers(500, 4000)), min_size=1, max_size=8),
    st.builds(lambda length, n: [length] * n, st.integers(1, 300), st.integers(1, 20)),
)
SIZES = st.tuples(st.integers(1, 70), st.integers(1, 70), st.integers(0, 300)).map(
    lambda t: {"batch_size": t[0], "bptt_length": t[1], "segment_length": t[1] + t[2]}
)


def numbered(lengths: list[int]) -> TokenizedText:
    """Sequences in which every token is an id of its own: its place in the text."""
    ends = np.cumsum(lengths)
    sequences = [np.arange(e - n, e, dtype=np.int32) for e, n in zip(ends, lengths, strict=True)]
    return from_ids(sequences, int(ends[-1]))


def test_from_ids_by_hand() -> None:
    """Each input is the target before it; where a sequence begins it is vocab_size, the zero."""
    text = from_ids([np.array(s, dtype=np.int32) for s in ([3, 4, 1], [1], [5, 1])], 9)
    assert text.ids.tolist() == [3, 4, 1, 1, 5, 1]
    assert text.inputs(np.arange(6)).tolist() == [9, 3, 4, 9, 9, 5]
    assert text.following(np.arange(6)).tolist() == [4, 1, 9, 9, 1, 9]
    assert text.starts.tolist() == [0, 3, 4, 6]
    assert text.num_tokens == 6
    assert from_ids([], 9).num_tokens == 0


def test_tokenize_closes_every_sequence() -> None:
    """Each sequence is followed by <EOS>, an empty one is <EOS> alone, an unknown one <UNK>."""
    tokenizer = train_tokenizer(["ab"], level="char")
    a, b = tokenizer.encode("ab").tolist()
    text = tokenize(tokenizer, ["ba", "", "ax"])
    eos, unk = tokenizer.eos_id, tokenizer.unk_id
    assert text.ids.tolist() == [b, a, eos, eos, a, unk, eos]
    assert text.starts.tolist() == [0, 3, 4, 7]


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(lengths=LENGTHS, sizes=SIZES, seed=st.integers(0, 2**40), epoch=st.integers(0, 99))
def test_every_token_is_a_target_exactly_once(
    lengths: list[int], sizes: dict[str, int], seed: int, epoch: int
) -> None:
    """In an epoch each token is a target once, read after the token before it, never padding.

    Whatever the lengths of the sequences and of batch, window and segment: a row reads on from
    window to window without a gap, the rows of a group stand in falling order of length, a
    window is no longer than bptt_length, and num_targets counts what counts.
    """
    text = numbered(lengths)
    seen: list[NDArray[np.int64]] = []
    for group in epoch_groups(text, seed=seed, epoch=epoch, **sizes):
        assert np.all(np.diff(group.lengths) <= 0)
        at = group.begin.copy()  # where each row should go on
        for window in read_windows(text, group, sizes["bptt_length"]):
            inputs, targets = window.inputs.numpy(), window.targets.numpy()
            assert inputs.shape == targets.shape
            assert 1 <= targets.shape[1] <= sizes["bptt_length"]
            live = targets != PADDING
            assert window.num_targets == live.sum() > 0
            for row in range(len(targets)):
                width = int(live[row].sum())
                assert live[row, :width].all()  # padding only closes a row
                expected = np.arange(at[row], at[row] + width)
                np.testing.assert_array_equal(targets[row, :width], expected)
                np.testing.assert_array_equal(inputs[row, :width], text.inputs(expected))
                np.testing.assert_array_equal(window.places[row, :width], expected)
                at[row] += width
            seen.append(targets[live])
        np.testing.assert_array_equal(at, group.end)
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(sum(lengths)))
    begins = text.inputs(text.starts[:-1])
    assert (begins == sum(lengths)).all()
    assert (text.inputs(np.arange(sum(lengths))) == sum(lengths)).sum() == len(lengths)


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, sizes=SIZES)
def test_a_short_sequence_is_one_row(lengths: list[int], sizes: dict[str, int]) -> None:
    """No sequence up to segment_length is cut, and no row reaches from one into another."""
    text = numbered(lengths)
    rows = [
        (int(begin), int(end))
        for group in epoch_groups(text, seed=1, epoch=0, **sizes)
        for begin, end in zip(group.begin, group.end, strict=True)
    ]
    starts = text.starts.tolist()
    for begin, end in itertools.pairwise(starts):
        if end - begin <= sizes["segment_length"]:
            assert (begin, end) in rows
    sequence_of = np.searchsorted(text.starts, np.array(rows), side="right")
    ends = np.searchsorted(text.starts, np.array(rows)[:, 1] - 1, side="right")
    np.testing.assert_array_equal(sequence_of[:, 0], ends)


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    """The same seed and epoch give the same rows in the same order; another of either does not."""
    text = text_of_lengths([*range(1, 60), 900, 700])

    def order(seed: int, epoch: int) -> list[list[int]]:
        groups = epoch_groups(
            text, batch_size=4, bptt_length=8, segment_length=64, seed=seed, epoch=epoch
        )
        return [np.stack(group).tolist() for group in groups]

    np.random.seed(1)  # what goes on elsewhere must not matter
    first = order(5, 0)
    np.random.seed(2)
    assert order(5, 0) == first
    assert order(5, 1) != first
    assert order(6, 0) != first
    assert order(5, 1) != order(6, 0)
    # The cuts of long texts move as well, so that no context is always the one cut off.
    cuts = {tuple(sorted(b for g in order(5, e) for b in g[0])) for e in range(4)}
    assert len(cuts) == 4


@pytest.mark.parametrize(
    ("batch_size", "name_padding", "line_padding"),
    [(1, 0.005, 0.005), (14, 0.02, 0.01), (32, 0.05, 0.02)],
)
def test_short_sequences_cost_little_padding(
    batch_size: int, name_padding: float, line_padding: float
) -> None:
    """Names (3 to 15 tokens) and lines (20 to 89) are read with 5 % and 2 % padding at most.

    Read in the order of the file they would cost half as much again. Batches stay well filled.
    """
    rng = np.random.default_rng(0)
    for lengths, padding in (
        (rng.integers(3, 16, size=5000), name_padding),
        (rng.integers(20, 90, size=3000), line_padding),
    ):
        text = text_of_lengths(lengths.tolist())
        groups = epoch_groups(
            text, batch_size=batch_size, bptt_length=64, segment_length=2048, seed=0, epoch=0
        )
        read = sum(w.inputs.numel() for g in groups for w in read_windows(text, g, 64))
        assert 0 <= read / text.num_tokens - 1 < padding
        windows = sum(num_windows(group, 64) for group in groups)
        assert windows < 1.5 * text.num_tokens / (64 * batch_size)


@settings(max_examples=100, deadline=None)
@given(
    num_tokens=st.integers(1, 3_000_000),
    batch_size=st.integers(1, 256),
    segment_length=st.integers(2, 4096),
    jitter=st.integers(0, 64),
)
def test_one_long_text_makes_full_batches(
    num_tokens: int, batch_size: int, segment_length: int, jitter: int
) -> None:
    """A single long text is cut into a multiple of batch_size pieces, none above a segment."""
    rng = np.random.default_rng(0)
    rows = cut_rows(
        np.array([0, num_tokens]),
        segment_length=segment_length,
        batch_size=batch_size,
        jitter=jitter,
        rng=rng,
    )
    assert rows.lengths.min() >= 1
    np.testing.assert_array_equal(rows.begin[1:], rows.end[:-1])
    assert rows.lengths.max() <= segment_length + 2 * jitter
    if num_tokens <= segment_length:
        assert len(rows.begin) == 1
    elif num_tokens < batch_size:  # a piece has at least one token
        assert len(rows.begin) == num_tokens
    else:
        assert len(rows.begin) % batch_size == 0
        assert len(rows.begin) < num_tokens / segment_length + batch_size


@pytest.mark.parametrize("batch_size", [500, 2999, 3000, 4096])
def test_a_batch_larger_than_the_text_is_no_error(batch_size: int) -> None:
    """Where a batch asks for more pieces than there are tokens, pieces are single tokens."""
    text = numbered([3000])
    groups = epoch_groups(
        text, batch_size=batch_size, bptt_length=64, segment_length=2048, seed=0, epoch=0
    )
    assert sum(int(group.lengths.sum()) for group in groups) == 3000
    assert sum(len(group.begin) for group in groups) == min(batch_size, 3000)


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, sizes=SIZES, warm_up=st.integers(0, 50))
def test_warm_up_is_read_and_not_counted(
    lengths: list[int], sizes: dict[str, int], warm_up: int
) -> None:
    """A piece may re-read the tokens before its own; each token is still a target just once."""
    text = numbered(lengths)
    rows = cut_rows(
        text.starts,
        segment_length=sizes["segment_length"],
        batch_size=sizes["batch_size"],
        warm_up=warm_up,
    )
    np.testing.assert_array_equal(np.sort(rows.counted), np.unique(rows.counted))
    for begin, counted in zip(rows.begin, rows.counted, strict=True):
        start = text.starts[np.searchsorted(text.starts, counted, side="right") - 1]
        assert begin == max(start, counted - warm_up)  # never into the sequence before
    bptt_length = sizes["bptt_length"]
    tokens_per_window = sizes["batch_size"] * bptt_length
    seen = []
    for group in group_rows(
        rows, tokens_per_window=tokens_per_window, bptt_length=bptt_length, rng=None
    ):
        for window in read_windows(text, group, bptt_length):
            counted = window.targets != PADDING
            assert window.num_targets == int(counted.sum())
            seen.append(window.targets[counted].numpy())
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(sum(lengths)))


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 500), min_size=1, max_size=80),
    tokens_per_window=st.integers(1, 3000),
    bptt_length=st.integers(1, 100),
)
def test_a_window_holds_no_more_tokens_than_asked(
    lengths: list[int], tokens_per_window: int, bptt_length: int
) -> None:
    """Memory is bounded: a window has tokens_per_window places, or a single row."""
    text = numbered(lengths)
    rows = Rows(text.starts[:-1], text.starts[1:], text.starts[:-1])
    groups = group_rows(
        rows, tokens_per_window=tokens_per_window, bptt_length=bptt_length, rng=None
    )
    for group in groups:
        for window in read_windows(text, group, bptt_length):
            assert window.inputs.numel() <= tokens_per_window or len(window.inputs) == 1
    order = [int(length) for group in groups for length in group.lengths]
    assert order == sorted(lengths, reverse=True)


@settings(max_examples=60, deadline=None)
@given(longest=st.integers(1, 1000), bptt_length=st.integers(1, 100))
def test_windows_of_a_group_are_about_equally_long(longest: int, bptt_length: int) -> None:
    """The longest row takes as few windows as it must, and the last of them is not a stub."""
    text = numbered([longest])
    group = Rows(text.starts[:-1], text.starts[1:], text.starts[:-1])
    widths = [w.inputs.shape[1] for w in read_windows(text, group, bptt_length)]
    assert len(widths) == num_windows(group, bptt_length) == math.ceil(longest / bptt_length)
    assert sum(widths) == longest
    assert max(widths) - min(widths) < len(widths)
    first = read_window(text, group, 0, bptt_length)
    assert first.inputs[0, 0] == longest  # vocab_size: the zero vector
