"""What stands beside a network and may go on learning: contexts counted, and a learned mixture.

It has the end of the training text as a memory (memory.py), and the weights by which the network,
what it is by the shares of its partner (interpolation.py), the partner's n-grams and the contexts
are mixed (mixer.py). reading.py reads with it. Letters: N tokens, V types, C contexts, K inputs of
the mixer.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from charlm.counts import mixer
from charlm.counts.backoff import marked_stream, small
from charlm.counts.contexts import CONTEXTS, OF_LEVEL, REACH, Contexts, Places
from charlm.counts.interpolation import Partner
from charlm.counts.memory import Matches, Stretch, stretch
from charlm.counts.mixer import BLOCK, Choice, Rows, Weights
from charlm.counts.seen import Seen, seen
from charlm.errors import CheckpointError

MOST_REMEMBERED = 4_000_000  # tokens of a training text
ORDERS = {"char": 7, "word": 4, "subword": 5}  # of n-grams, where no other was asked for
PORTION = 2_048  # tokens that are mixed at a time, at most
_CELLS = 2**22  # the same times V
_HISTORIES = 2**21  # tokens that are looked back at together
NOTHING = -1  # stands left of a mark
_WEIGHTS = ("frozen", "learning")

Ids = NDArray[np.integer[Any]]
Values = NDArray[np.floating[Any]]


class Text(NamedTuple):
    """Tokens to predict: a stream with a mark before each sequence, and where in it they stand.

    at (N,) are their places, since (N,) how many tokens ago the sequence's mark stood there.
    """

    stream: NDArray[np.int64]
    at: NDArray[np.int64]
    since: NDArray[np.int64]


class Evidence(NamedTuple):
    """What is known of N places before the token there is: see mixer.py.

    inputs are the rows (N, V) of networks, of the shares and of the n-gram model.
    """

    inputs: Rows
    seen: Seen
    confidence: NDArray[np.int64]  # (N, K)
    chosen: NDArray[np.int64]  # (N, S)

    def part(self, begin: int, end: int) -> "Evidence":
        """That of the places from begin to end."""
        span = slice(begin, end)
        inputs = [rows[span] for rows in self.inputs]
        known = self.seen.part(begin, end)
        return Evidence(inputs, known, self.confidence[span], self.chosen[span])

    def mixed(self, weights: Weights) -> Values:
        """log q (N, V) by such weights."""
        return mixer.mixed(weights.at(self.confidence, self.chosen), self.inputs, self.seen)


@dataclasses.dataclass(frozen=True)
class Adaptive:
    """Counts of contexts, and how they are mixed with a network.

    partner has an n-gram model. remembered (M,) is the end of the training text, sequences that end
    in <EOS> (``eos``) one after another. frozen are the weights of what learns nothing, learning
    those that what learns begins with, and rate is how fast they do; is_fitted tells whether they
    were learned from text held out.
    """

    contexts: Contexts
    partner: Partner
    eos: int
    rate: float
    remembered: Ids
    frozen: Weights
    learning: Weights
    is_fitted: bool = False

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "memory"}

    @classmethod
    def new(cls, level: str, letters: Ids, partner: Partner, eos: int, text: Ids) -> Self:
        """With first weights, and as much of the end of a text (N,) as is remembered.

        letters (V,) are those of contexts.Contexts, level is what a token is.
        """
        contexts = Contexts(OF_LEVEL[level], letters)
        weights = _first_weights(contexts, partner)
        kept = np.array(text[-MOST_REMEMBERED:])
        return cls(contexts, partner, eos, mixer.RATES[level], kept, weights, weights)

    @property
    def first_weights(self) -> Weights:
        """Those to begin with."""
        return _first_weights(self.contexts, self.partner)

    def with_weights(self, *, frozen: Weights, learning: Weights) -> Self:
        """The same with weights that were learned."""
        found = dataclasses.replace(self, frozen=frozen, learning=learning, is_fitted=True)
        if "memory" in vars(self):
            vars(found)["memory"] = self.memory  # which takes a while, and is the same
        return found

    def to_json(self) -> dict[str, Any]:
        """What is not in arrays."""
        return {"contexts": list(self.contexts.names), "is_fitted": self.is_fitted}

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The training text as far as it is remembered, and the weights."""
        arrays: dict[str, NDArray[Any]] = {"text": small(self.remembered.astype(np.int64))}
        for name in _WEIGHTS:
            arrays |= {f"{name}.{of}": table for of, table in getattr(self, name)._asdict().items()}
        return arrays

    @classmethod
    def from_json(
        cls,
        values: object,
        arrays: Mapping[str, NDArray[Any]],
        *,
        level: str,
        letters: Ids,
        partner: Partner,
        eos: int,
    ) -> Self:
        """What these wrote. Raises CheckpointError for anything else."""
        if not isinstance(values, dict) or set(values) != {"contexts", "is_fitted"}:
            raise _damaged("the wrong fields")
        names, is_fitted = values["contexts"], values["is_fitted"]
        known = isinstance(names, list) and all(type(one) is str for one in names)
        if not known or not set(names) <= set(CONTEXTS) or len(set(names)) < len(names):
            raise _damaged("contexts that this version of charlm does not know")
        if type(is_fitted) is not bool:
            raise _damaged("the wrong fields")
        contexts = Contexts(names, letters)
        first = _first_weights(contexts, partner)
        shapes = {of: table.shape for of, table in first._asdict().items()}
        if set(arrays) != {"text", *(f"{name}.{of}" for name in _WEIGHTS for of in shapes)}:
            raise _damaged("the wrong arrays")
        text = arrays["text"]
        whole = text.ndim == 1 and text.dtype.kind in "iu" and len(text) <= MOST_REMEMBERED
        if not whole or not ((text >= 0) & (text < _vocab_size(partner))).all():
            raise _damaged("a wrong text")
        weights = []
        for name in _WEIGHTS:
            tables = [arrays[f"{name}.{of}"] for of in shapes]
            for table, shape in zip(tables, shapes.values(), strict=True):
                if table.shape != shape or table.dtype != np.float64:
                    raise _damaged("weights of another shape")
                if not (np.abs(table) <= mixer.LARGEST_WEIGHT).all():
                    raise _damaged("weights that cannot be")
            weights.append(Weights(*tables))
        frozen, learning = weights
        rate = mixer.RATES[level]
        return cls(contexts, partner, eos, rate, text, frozen, learning, is_fitted)

    @property
    def vocab_size(self) -> int:
        """V."""
        return _vocab_size(self.partner)

    @property
    def reach(self) -> int:
        """So many tokens before the next one matter, a mark among them."""
        return max(REACH, self.partner.reach)

    @functools.cached_property
    def memory(self) -> tuple[Stretch, ...]:
        """The training text, indexed: of a million tokens it takes a second or two."""
        if not len(self.remembered):
            return ()
        ends = np.flatnonzero(self.remembered == self.eos) + 1
        sequences = np.split(self.remembered, ends[ends < len(self.remembered)])
        text = self.text(sequences)
        places = self.contexts.places(text.stream, text.since, text.at)
        return (stretch(places.keys, text.stream[text.at]),)

    @functools.cached_property
    def choice(self) -> Choice:
        """What chooses weights."""
        return Choice(self.contexts, self.vocab_size)

    def text(self, sequences: Sequence[Ids]) -> Text:
        """Whole sequences, one after another."""
        stream, depth = marked_stream(sequences, self.vocab_size)
        at = np.flatnonzero(depth > 0)
        return Text(stream, at, depth[at])

    def inputs(self, text: Text, networks: Rows) -> Rows:
        """Rows (N, V) of log P at places of a text: of networks, of the shares, of the n-grams.

        networks are those of what stands beside the counts; the first is mixed by shares.
        """
        return [*networks, *self._counted(text, networks[0])]

    def evidence(self, text: Text, places: Places, found: Matches, inputs: Rows) -> Evidence:
        """What the mixer is told of places of a text, by its inputs and matches of their keys."""
        known = seen(found, len(self.contexts), inputs[-1])
        others = np.zeros((len(inputs[0]), len(inputs)), dtype=np.int64)
        return Evidence(
            inputs,
            known,
            np.concatenate((others, known.confidence), axis=1),
            self.choice.chosen(known.confidence, text.stream[text.at - 1], places.in_word),
        )

    def portions(self, number: int) -> Iterator[slice]:
        """Cuts so many places into what is mixed at a time."""
        size = max(BLOCK, min(PORTION, _CELLS // self.vocab_size))
        for begin in range(0, number, size):
            yield slice(begin, min(number, begin + size))

    def _counted(self, text: Text, network: Values) -> tuple[Values, Values]:
        """log P (N, V) by the shares of the partner and the network's rows, and of the n-grams."""
        ngram = self.partner.ngram
        assert ngram is not None
        shares, base = np.empty_like(network), np.empty_like(network)
        reach = self.partner.reach
        begin = max(0, int(text.at.min(initial=0)) - reach)
        padded = np.concatenate((np.full(reach, NOTHING), text.stream[begin:]))
        # Narrow numbers, that hold the mark V: most of the work is to compare a cache's window.
        narrow = np.min_scalar_type(-self.vocab_size - 1)
        windows = sliding_window_view(padded.astype(narrow), reach)
        size = max(1, _HISTORIES // reach)
        for first in range(0, len(network), size):
            span = slice(first, first + size)
            histories, since = windows[text.at[span] - begin], text.since[span]
            (short,) = np.nonzero(since < reach)
            histories[short] = np.where(
                np.arange(reach, 0, -1) <= since[short, None], histories[short], NOTHING
            )
            found = ngram.rows(histories[:, -ngram.order :].astype(np.int64), network.dtype.type)
            shares[span] = self.partner.beside(network[span], found, histories)
            np.log(found[0], out=base[span])
        return shares, base


def _vocab_size(partner: Partner) -> int:
    """V."""
    assert partner.ngram is not None
    return partner.ngram.vocab_size


def _first_weights(contexts: Contexts, partner: Partner) -> Weights:
    rows = Choice(contexts, _vocab_size(partner)).rows
    return mixer.first_weights(len(contexts) + 3, rows)


def _damaged(what: str) -> CheckpointError:
    return CheckpointError(f"the adaptive mixture is damaged: it has {what}.")
