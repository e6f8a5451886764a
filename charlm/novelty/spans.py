"""Where in a text its copies stand: every span that a training sequence has, too, and none within.

measure.py tells of the longest one of a text; here are all of them that are long enough to be
remarkable.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from charlm.errors import UsageError
from charlm.novelty.measure import Sample
from charlm.novelty.suffix_array import END
from charlm.novelty.text_index import Index

LEAST = 20  # characters, where nothing is known of a held-out text
_MOSTLY_NEW = 0.95  # of the held-out text's n-grams


class Span(NamedTuple):
    """text[start:end] stands in one sequence of the training text, and nothing longer around it.

    The first of its ``times`` places is at ``offset`` in sequence number ``sequence``, from 1.
    """

    start: int
    end: int
    sequence: int
    offset: int
    times: int


def remarkable(index: Index) -> int:
    """From how many characters on a copy is more than chance.

    It is the n from which 95 % of the n-grams of the held-out text, which nobody copied, are new.
    """
    shares = index.held_out_characters
    if not shares:
        return LEAST
    return next((n for n in sorted(shares) if shares[n] >= _MOSTLY_NEW), max(shares) + 1)


def spans(index: Index, samples: Sequence[Sample], *, least: int) -> list[list[Span]]:
    """The copies of at least so many characters in each sample, in the order of their beginnings.

    Only what begins behind what was given counts. Two of them may overlap, but none lies within
    another. Raises UsageError if ``least`` is below 1.
    """
    if least < 1:
        raise UsageError(f"a copy has 1 character or more, got {least}.")
    if not samples:
        return []
    query = index.query([sample.text for sample in samples])
    lengths = index.array.lengths(query)  # (M,)
    is_end = query == END
    stops = np.arange(len(query)) + lengths  # they never fall within a sample
    longer = np.append(True, stops[1:] > stops[:-1])
    begins = np.concatenate(([0], np.flatnonzero(is_end)[:-1] + 1)).astype(np.int64)
    first = begins + np.array([sample.begin for sample in samples], dtype=np.int64)
    longer[first] = True
    number = np.cumsum(is_end) - is_end  # the sample of each place
    counted = np.arange(len(query)) >= first[number]
    places = np.flatnonzero(counted & longer & (lengths >= least))
    at, times = index.array.locate(query, places, lengths[places])
    found: list[list[Span]] = [[] for _ in samples]
    rows = zip(places.tolist(), lengths[places].tolist(), at.tolist(), times.tolist(), strict=True)
    for place, length, where, often in rows:
        sample = int(number[place])
        start = place - int(begins[sample])
        found[sample].append(Span(start, start + length, *index.place(where), often))
    return found
