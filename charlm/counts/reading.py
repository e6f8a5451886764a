"""Reading with an adaptive mixture: what is predicted, and what is learned from it.

What is read may do two things: its tokens join the memory (``remembers``), and the weights follow
them (``learns``). Every token is predicted before anything is learned from it or from what comes
after it. Letters: N tokens, V types, C contexts.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.counts import mixer
from charlm.counts.adaptive import PORTION, Adaptive, Evidence, Ids, Text, Values
from charlm.counts.contexts import REACH, Keys
from charlm.counts.memory import (
    Matches,
    Stretch,
    grown,
    joined,
    matches,
    matches_of_last,
    matches_within,
    stretch,
)
from charlm.counts.mixer import BLOCK, Rows, Step, Weights

_MOST_PLACES = 16_000_000  # that are remembered in all: beyond that nothing is added
_RECENT = 4_096  # tokens that are not yet sorted in


class Reading(NamedTuple):
    """Where the reading of a stream stands.

    tail (T,) are the last tokens of the sequence at hand, at most ``reach``, its mark among them.
    rate is how fast the weights follow, None where they stay. stretches are the memory, recent
    (C, R) the keys and recent_tokens (R,) the tokens of the latest places, which are not in it yet.
    weights are as they were when the block began, and steps what has been gathered since for the
    next, of so many tokens (``begun``).
    """

    remembers: bool
    rate: float | None
    reach: int
    tail: NDArray[np.int64]
    stretches: tuple[Stretch, ...]
    recent: Keys
    recent_tokens: NDArray[np.int32]
    weights: Weights
    steps: tuple[Step, ...] = ()
    begun: int = 0


class Expected(NamedTuple):
    """What comes next: log_q (1, V), after keys (C, 1)."""

    keys: Keys
    evidence: Evidence
    log_q: Values


def begin(
    adaptive: Adaptive, *, remembers: bool, learns: bool, weights: Weights | None = None
) -> Reading:
    """Where nothing has been read. Without ``weights`` they are those fit for what is asked."""
    if weights is None:
        weights = adaptive.learning if remembers else adaptive.frozen
    return Reading(
        remembers,
        adaptive.rate if learns else None,
        adaptive.reach,
        np.array([adaptive.vocab_size]),
        adaptive.memory,
        np.empty((len(adaptive.contexts), 0), dtype=np.uint64),
        np.empty(0, dtype=np.int32),
        weights,
    )


def at_new_sequence(adaptive: Adaptive, reading: Reading) -> Reading:
    """The same where another sequence begins."""
    return reading._replace(tail=np.array([adaptive.vocab_size]))


def read(
    adaptive: Adaptive, reading: Reading, pieces: Sequence[Ids], networks: Rows
) -> Iterator[tuple[slice, Values, Reading]]:
    """log P (n, V) at the next tokens of a stream, some after others, and where it stands then.

    The first piece goes on with the sequence at hand, each other one begins one. networks are
    rows (N, V) of log P of what stands beside the counts, of all pieces one after another.
    """
    for span, found in read_beside(adaptive, [reading], pieces, networks):
        yield span, *found[0]


def read_beside(
    adaptive: Adaptive, readings: Sequence[Reading], pieces: Sequence[Ids], networks: Rows
) -> Iterator[tuple[slice, list[tuple[Values, Reading]]]]:
    """The same of several readings of one stream: what all of them are told is made once."""
    text = _text_on(adaptive, readings[0].tail, pieces)
    for span in adaptive.portions(len(text.at)):
        at, since = text.at[span], text.since[span]
        first = max(0, int(at[0]) - adaptive.reach)
        part = Text(text.stream[first : at[-1] + 1], at - first, since)
        inputs = adaptive.inputs(part, [rows[span] for rows in networks])
        found = [_read(adaptive, reading, part, inputs) for reading in readings]
        readings = [reading for _, reading in found]
        yield span, found


def read_each(adaptive: Adaptive, sequences: Sequence[Ids], network: Values) -> Iterator[Values]:
    """log P (T, V) at the tokens of sequences, each read from a beginning of its own.

    None has more than PORTION tokens. network (N, V) are rows of log P, of all of them.
    """
    assert max(map(len, sequences)) <= PORTION
    text = adaptive.text(sequences)
    places = adaptive.contexts.places(text.stream, text.since, text.at)
    number = np.repeat(np.arange(len(sequences)), [len(ids) for ids in sequences])
    own = matches_within(places.keys, text.stream[text.at], number, 0)
    found = matches(adaptive.memory, places.keys, own)
    evidence = adaptive.evidence(text, places, found, adaptive.inputs(text, [network]))
    beginning, end = begin(adaptive, remembers=True, learns=True), 0
    for ids in sequences:
        start, end = end, end + len(ids)
        yield _blocks(beginning, evidence.part(start, end), ids)[0]


def frozen(
    adaptive: Adaptive, text: Text, parts: Iterator[tuple[NDArray[np.int64], Values]]
) -> Iterator[tuple[NDArray[np.int64], Values]]:
    """log P (M, V) of what neither remembers nor learns, at some of the tokens of a text.

    parts say at which (M,), in any order, and rows (M, V) of the network's log P there.
    """
    places = adaptive.contexts.places(text.stream, text.since, text.at)
    for which, network in parts:
        for span in adaptive.portions(len(which)):
            some = which[span]
            here = Text(text.stream, text.at[some], text.since[some])
            there = places.take(some)
            found = matches(adaptive.memory, there.keys)
            inputs = adaptive.inputs(here, [network[span]])
            evidence = adaptive.evidence(here, there, found, inputs)
            yield some, evidence.mixed(adaptive.frozen)


def expect(adaptive: Adaptive, readings: Sequence[Reading], networks: Rows) -> list[Expected]:
    """What comes next at the end of each of some readings.

    networks are rows (B, V) of log P of what stands beside the counts, a row for each.
    """
    tails = [reading.tail for reading in readings]
    since = np.array([len(tail) for tail in tails])
    text = Text(np.concatenate(tails), np.cumsum(since), since)
    short = [tail[-REACH:] for tail in tails]
    ends = np.cumsum([len(tail) for tail in short])
    places = adaptive.contexts.places(np.concatenate(short), text.since, ends)
    found = _matches_of(readings, places.keys)
    evidence = adaptive.evidence(text, places, found, adaptive.inputs(text, networks))
    weights = np.concatenate(
        [
            reading.weights.at(evidence.confidence[row : row + 1], evidence.chosen[row : row + 1])
            for row, reading in enumerate(readings)
        ]
    )
    log_q = mixer.mixed(weights, evidence.inputs, evidence.seen)
    return [
        Expected(places.keys[:, row : row + 1], evidence.part(row, row + 1), log_q[row : row + 1])
        for row in range(len(readings))
    ]


def _matches_of(readings: Sequence[Reading], keys: Keys) -> Matches:
    """The matches of keys (C, B), each in the memory of its reading; most have that of training."""
    shared, found = readings[0].stretches, []
    alike = all(reading.stretches is shared for reading in readings)
    for row, reading in enumerate(readings):
        if not alike:
            one = _matches_of([reading], keys[:, row : row + 1])
        elif reading.remembers:
            one = matches_of_last(reading.recent, reading.recent_tokens, keys[:, row])
        else:
            continue
        found.append(one._replace(query=one.query + row * len(keys)))
    if not alike:
        return joined(found)
    return matches(shared, keys, joined(found) if found else None)


def after(reading: Reading, expected: Expected, token: int) -> Reading:
    """Where it stands once a token has come, before which that was expected."""
    if reading.rate is not None:
        reading = _learned(reading, expected.evidence, expected.log_q, np.array([token]))
    return _moved(reading, np.append(reading.tail, token), expected.keys, np.array([token]))


def _read(adaptive: Adaptive, reading: Reading, text: Text, inputs: Rows) -> tuple[Values, Reading]:
    """log P (n, V) at the tokens of a text, few enough to be mixed at a time, by their inputs."""
    first = max(0, int(text.at[0]) - REACH)
    places = adaptive.contexts.places(text.stream[first:], text.since, text.at - first)
    ids, own = text.stream[text.at], None
    if reading.remembers:
        keys = np.concatenate((reading.recent, places.keys), axis=1)
        tokens = np.concatenate((reading.recent_tokens, ids))
        one = np.zeros(len(tokens), dtype=np.int64)
        own = matches_within(keys, np.asarray(tokens, np.int64), one, len(reading.recent_tokens))
    found = matches(reading.stretches, places.keys, own)
    evidence = adaptive.evidence(text, places, found, inputs)
    log_q, reading = _blocks(reading, evidence, ids)
    last = min(int(text.since[-1]) + 1, reading.reach)
    return log_q, _moved(reading, text.stream[-last:], places.keys, ids)


def _blocks(reading: Reading, evidence: Evidence, ids: Ids) -> tuple[Values, Reading]:
    """log P (N, V) at ids (N,), the weights following where they learn."""
    if reading.rate is None:
        return evidence.mixed(reading.weights), reading
    parts, at = [], 0
    while at < len(ids):
        end = min(len(ids), at + BLOCK - reading.begun)
        part = evidence.part(at, end)
        parts.append(part.mixed(reading.weights))
        reading = _learned(reading, part, parts[-1], ids[at:end])
        at = end
    return np.concatenate(parts), reading


def _learned(reading: Reading, evidence: Evidence, log_q: Values, ids: Ids) -> Reading:
    """With what tokens (N,) of a block teach; at its end the weights move."""
    slope = mixer.gradient(log_q, evidence.inputs, evidence.seen, ids)
    assert reading.rate is not None
    steps = (*reading.steps, Step(slope, evidence.confidence, evidence.chosen))
    begun = reading.begun + len(ids)
    if begun < BLOCK:
        return reading._replace(steps=steps, begun=begun)
    weights = mixer.learned(reading.weights, steps, reading.rate)
    return reading._replace(weights=weights, steps=(), begun=0)


def _moved(reading: Reading, stream: Ids, keys: Keys, ids: Ids) -> Reading:
    """Behind ids (N,), which follow keys (C, N) and end the stream (T,) of their sequence."""
    reading = reading._replace(tail=stream[-reading.reach :].astype(np.int64))
    if not reading.remembers:
        return reading
    recent = np.concatenate((reading.recent, keys), axis=1)
    tokens = np.concatenate((reading.recent_tokens, ids)).astype(np.int32)
    stretches = reading.stretches
    if len(tokens) >= _RECENT:
        if len(tokens) + sum(one.size for one in stretches) <= _MOST_PLACES:
            stretches = grown(stretches, stretch(recent, tokens))
        recent, tokens = recent[:, :0], tokens[:0]
    return reading._replace(stretches=stretches, recent=recent, recent_tokens=tokens)


def _text_on(adaptive: Adaptive, tail: NDArray[np.int64], pieces: Sequence[Ids]) -> Text:
    """What goes on behind a tail: pieces, a mark before each but the first."""
    first, *others = pieces
    begun = adaptive.text(others)
    offset = len(tail) + len(first)
    stream = np.concatenate((tail, first, begun.stream)).astype(np.int64)
    own = np.arange(len(tail), offset)
    return Text(
        stream,
        np.concatenate((own, begun.at + offset)),
        np.concatenate((own, begun.since)),
    )
