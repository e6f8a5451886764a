"""The pairs of a training: read, some of their sources held out, and as ids."""

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.counts import joint
from charlm.counts.pair_partner import PairPartner
from charlm.errors import TextError
from charlm.inference.pairs.mixed_search import joint_log_probs
from charlm.nn.pair_batches import PairTexts
from charlm.text.corpus import fingerprint
from charlm.text.pairs import Pair, PairPlaces, hold_out_pairs, read_pairs
from charlm.text.tokens import tokenize
from charlm.tokenizers import train_tokenizer
from charlm.tokenizers.base import Tokenizer
from charlm.tokenizers.featured import FeaturedTokenizer
from charlm.tokenizers.features import Featured, parted
from charlm.training.request import Request, Say
from charlm.training.texts.material import Material
from charlm.training.texts.memory import TextsInMemory
from charlm.training.texts.sequences import is_apart, without_copies

_FEW_PAIRS = 100  # fewer than this are remarked on


@dataclasses.dataclass(frozen=True)
class PairSides:
    """What is learned from, and what is held out; whether sources have features."""

    train: list[Pair]
    valid: list[Pair]
    has_features: bool = False

    def sources(self) -> list[Featured]:
        """Those to learn from, their features apart."""
        lines = (pair.source for pair in self.train)
        return [parted(line) if self.has_features else Featured(line, ()) for line in lines]

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all of it."""
        return fingerprint(
            part for side in (self.train, self.valid) for pair in (*side, ("", "")) for part in pair
        )


def read_pair_sides(request: Request, say: Say, given: TextsInMemory | None = None) -> PairSides:
    """Pairs of files, or of memory. Pairs of one source stand on one side. Raises TextError."""
    train, valid, notes = _read(request, given)
    has_features = given.has_features if given else places_of(request).features is not None
    if request.swap:
        train, valid = (_swapped(side, has_features) for side in (train, valid))
    for note in notes:
        say(note)
    if not train:
        raise TextError("there is no pair to train on: what was given is empty or blank.")
    if not is_apart(request, given):
        train, valid, notes = hold_out_pairs(
            train, share=request.valid_share, seed=request.seed, has_features=has_features
        )
        for note in notes:
            say(note)
    train = without_copies(request, train, say)
    several = len(train) - len({pair.source for pair in train})
    more = f", {several:,} of them further targets of a source" if several else ""
    say(f"text: {len(train):,} pairs{more}; {len(valid):,} more held out")
    say(f"first pair: {train[0].source:.60} -> {train[0].target:.60}")
    if len(train) < _FEW_PAIRS:
        say(f"only {len(train):,} pairs: too few to learn much from")
    return PairSides(train, valid, has_features)


def _swapped(pairs: list[Pair], has_features: bool) -> list[Pair]:
    """Targets to be read, with the features that their sources had, and sources to be written."""
    if not has_features:
        return [Pair(pair.target, pair.source) for pair in pairs]
    parts = [(parted(pair.source), pair.target) for pair in pairs]
    return [Pair(there._replace(text=target).line, there.text) for there, target in parts]


def places_of(request: Request) -> PairPlaces:
    """Where pairs stand. Raises UsageError."""
    return PairPlaces.of(
        source_column=request.source_column,
        target_column=request.target_column,
        source_field=request.source_field,
        target_field=request.target_field,
        features_column=request.features_column,
        features_field=request.features_field,
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


def learn_readers(request: Request, texts: PairSides, say: Say) -> Readers:
    """A tokenizer for each side, or one for both, and types for the features of sources."""
    level = request.level or "char"
    target_level = request.target_level or level
    sources, targets = texts.sources(), [pair.target for pair in texts.train]
    read = [one.text for one in sources]
    if request.shared_vocabulary:
        source = target = _tokenizer(read + targets, request, level, say)
        told = f"{source.vocab_size:,} types of both sides at {level} level"
    else:
        source = _tokenizer(read, request, level, say)
        target = _tokenizer(targets, request, target_level, say)
        told = f"{source.vocab_size:,} types of sources at {level} level"
        told += f", {target.vocab_size:,} of targets at {target_level} level"
    if texts.has_features:
        features = sorted({name for one in sources for name in one.features})
        source = FeaturedTokenizer(source, features)
        told += f", {len(features):,} features"
    say(f"vocabulary: {told}")
    return Readers(source, target)


def _tokenizer(texts: list[str], request: Request, level: str, say: Say) -> Tokenizer:
    tokenizer = train_tokenizer(
        texts,
        level=level,
        vocab_size=request.vocab_size,
        min_count=request.min_count,
        lowercase=request.lowercase,
        pretokenized=request.pretokenized,
        subword_model=request.subword_model,
    )
    for note in tokenizer.notes:
        say(note)
    return tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairMaterial(Material):
    """What an encoder and a decoder learn from; held_out are the pairs of valid as text.

    partner are joint n-grams of the pairs, if they were asked for.
    """

    readers: Readers
    pairs: PairTexts
    valid: PairTexts | None
    held_out: tuple[Pair, ...]
    partner: PairPartner | None = None

    @functools.cached_property
    def joint_log_probs(self) -> NDArray[np.float64]:
        """log P (N,) that the n-grams give each held-out target, its source given."""
        assert self.partner is not None
        assert self.valid is not None
        sides = (self.valid.sources.sequences(), self.valid.targets.sequences())
        return joint_log_probs(self.partner, *sides)


def pair_material(
    texts: PairSides, readers: Readers, partner: PairPartner | None = None
) -> PairMaterial:
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
        partner=partner,
    )


def joint_ngrams(material: PairMaterial, order: int, say: Say) -> PairPartner:
    """Joint n-grams of the pairs to train on. Raises UsageError."""
    begun = time.perf_counter()
    model, left_out = joint.train(
        [ids[:-1] for ids in material.pairs.sources.sequences()],
        [ids[:-1] for ids in material.pairs.targets.sequences()],
        source_vocab_size=material.readers.source.vocab_size,
        vocab_size=material.readers.target.vocab_size,
        order=order,
    )
    number = sum(len(level.keys) for level in model.counts.levels)
    seconds = time.perf_counter() - begun
    without = f"; {left_out:,} pairs have too long a target" if left_out else ""
    say(
        f"partner: {number:,} joint n-grams of up to {order} chunks of source and target "
        f"({seconds:.1f} s), mixed with the network{without}"
    )
    return PairPartner(model)
