"""The pairs of a training: read, some of their sources held out, and as ids."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

from charlm.errors import TextError
from charlm.nn.pair_batches import PairTexts
from charlm.text.corpus import fingerprint
from charlm.text.pairs import Pair, PairPlaces, hold_out_pairs, read_pairs
from charlm.text.tokens import tokenize
from charlm.tokenizers.base import Tokenizer
from charlm.training.request import Request, Say
from charlm.training.texts.material import Material
from charlm.training.texts.memory import TextsInMemory
from charlm.training.texts.sequences import is_apart, without_copies

_FEW_PAIRS = 100  # fewer than this are remarked on


@dataclasses.dataclass(frozen=True)
class PairSides:
    """What is learned from, and what is held out."""

    train: list[Pair]
    valid: list[Pair]

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all of it."""
        return fingerprint(
            part for side in (self.train, self.valid) for pair in (*side, ("", "")) for part in pair
        )


def read_pair_sides(request: Request, say: Say, given: TextsInMemory | None = None) -> PairSides:
    """Pairs of files, or of memory. Pairs of one source stand on one side. Raises TextError."""
    train, valid, notes = _read(request, given)
    if request.swap:
        train, valid = ([Pair(*reversed(pair)) for pair in side] for side in (train, valid))
    for note in notes:
        say(note)
    if not train:
        raise TextError("there is no pair to train on: what was given is empty or blank.")
    if not is_apart(request, given):
        train, valid, notes = hold_out_pairs(train, share=request.valid_share, seed=request.seed)
        for note in notes:
            say(note)
    train = without_copies(request, train, say)
    several = len(train) - len({pair.source for pair in train})
    more = f", {several:,} of them further targets of a source" if several else ""
    say(f"text: {len(train):,} pairs{more}; {len(valid):,} more held out")
    say(f"first pair: {train[0].source:.60} -> {train[0].target:.60}")
    if len(train) < _FEW_PAIRS:
        say(f"only {len(train):,} pairs: too few to learn much from")
    return PairSides(train, valid)


def places_of(request: Request) -> PairPlaces:
    """Where pairs stand. Raises UsageError."""
    return PairPlaces.of(
        source_column=request.source_column,
        target_column=request.target_column,
        source_field=request.source_field,
        target_field=request.target_field,
        header=request.header,
    )


def _read(
    request: Request, given: TextsInMemory | None
) -> tuple[list[Pair], list[Pair], tuple[str, ...]]:
    """Pairs to train on and to validate on, and notes."""
    if given is not None:
        return *given.pairs(), ()
    places = places_of(request)
    options = {"encoding": request.encoding, "errors": request.errors}
    train, notes = read_pairs(request.corpus, places, **options)
    if not request.valid:
        return train, [], notes
    valid, more = read_pairs(request.valid, places, **options)
    if not valid:
        raise TextError("there is no pair to validate on: what was given is empty or blank.")
    return train, valid, notes + more


class Readers(NamedTuple):
    """What turns sources and targets into ids."""

    source: Tokenizer
    target: Tokenizer

    def encode(self, pairs: Sequence[Pair]) -> PairTexts:
        """Both sides as ids, each closed by <EOS>."""
        return PairTexts(
            tokenize(self.source, [pair.source for pair in pairs]),
            tokenize(self.target, [pair.target for pair in pairs]),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairMaterial(Material):
    """What an encoder and a decoder learn from; held_out are the pairs of valid as text."""

    readers: Readers
    pairs: PairTexts
    valid: PairTexts | None
    held_out: tuple[Pair, ...]


def pair_material(texts: PairSides, readers: Readers) -> PairMaterial:
    """The pairs as ids, with what the checkpoints will say of them."""
    train, valid = readers.encode(texts.train), readers.encode(texts.valid)
    sizes = {
        name: {
            "pairs": len(side),
            "source_tokens": ids.sources.num_tokens,
            "target_tokens": ids.targets.num_tokens,
        }
        for name, side, ids in (("train", texts.train, train), ("valid", texts.valid, valid))
    }
    return PairMaterial(
        about={"fingerprint": texts.fingerprint, **sizes},
        split_on=None,
        readers=readers,
        pairs=train,
        valid=valid if texts.valid else None,
        held_out=tuple(texts.valid),
    )
