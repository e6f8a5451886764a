"""The embedding of a model: which types are near one another, and a map of them in the plane."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.errors import UsageError
from charlm.inspection.views import embedding as views
from charlm.models.engine_choice import check_network
from charlm.models.language_model import LanguageModel
from charlm.tokenizers.base import NUM_SPECIALS

TOP = 10
_WIDE = 100  # types of a map of the vocabulary


class Neighbour(NamedTuple):
    """A type, and the cosine of its vector and another's."""

    id: int
    piece: str
    cosine: float


class Map(NamedTuple):
    """Types in the plane of their two largest principal components: ``at`` (N, 2).

    ``shares`` are how much of their variance each of the two accounts for.
    """

    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    at: NDArray[np.float64]
    shares: tuple[float, float]

    def _repr_html_(self) -> str:
        return views.of_map(self).html


class Neighbourhood(NamedTuple):
    """A type and those nearest to it, with their cosines to it (N,), first the type itself.

    ``map`` is of these, ``wide`` is of the first types of the vocabulary, this one among them.
    """

    cosines: tuple[float, ...]
    map: Map
    wide: Map

    def _repr_html_(self) -> str:
        return views.view(self).html


def type_of(lm: LanguageModel, word: str) -> int:
    """The id of a type, named by its piece or by a text that is one token. Raises UsageError."""
    ids = lm.tokenizer.encode(word)
    if len(ids) == 1 and ids[0] != lm.tokenizer.unk_id:
        return int(ids[0])
    pieces = lm.tokenizer.pieces(np.arange(lm.tokenizer.vocab_size))
    if word in pieces:
        return pieces.index(word)
    what = "not in the vocabulary" if len(ids) == 1 else f"{len(ids)} tokens of this model"
    raise UsageError(f"{word!r} is {what}: name one type.")


def nearest(lm: LanguageModel, word: str, *, top: int = TOP) -> tuple[Neighbour, ...]:
    """The types nearest to one, itself left out, <UNK> and <EOS> too. Raises UsageError."""
    chosen = type_of(lm, word)
    vectors = _vectors(lm)
    sizes = np.linalg.norm(vectors, axis=1)
    sizes[sizes == 0] = np.inf
    cosines = vectors @ vectors[chosen] / (sizes * sizes[chosen])
    order = np.argsort(-cosines, kind="stable")
    kept = order[(order != chosen) & (order >= NUM_SPECIALS)][:top]
    pieces = lm.tokenizer.pieces(kept)
    return tuple(map(Neighbour, kept.tolist(), pieces, cosines[kept].tolist()))


def neighbourhood(lm: LanguageModel, word: str, *, top: int = TOP) -> Neighbourhood:
    """A type among those nearest to it, 2 or more. Raises UsageError."""
    chosen = type_of(lm, word)
    found = nearest(lm, word, top=top)
    first = range(NUM_SPECIALS, min(lm.tokenizer.vocab_size, NUM_SPECIALS + _WIDE))
    return Neighbourhood(
        (1.0, *(one.cosine for one in found)),
        plane(lm, [chosen, *(one.id for one in found)]),
        plane(lm, sorted({chosen, *first})),
    )


def plane(lm: LanguageModel, ids: Sequence[int]) -> Map:
    """Some types on a map: principal components of their vectors. Raises UsageError below 3."""
    if len(ids) < 3:
        raise UsageError("a map needs three types or more.")
    chosen = np.asarray(ids, dtype=np.int64)
    vectors = _vectors(lm)[chosen]
    vectors = vectors - vectors.mean(axis=0)
    left, sizes, _ = np.linalg.svd(vectors, full_matrices=False)
    at = np.zeros((len(chosen), 2))
    at[:, : min(2, len(sizes))] = (left * sizes)[:, :2]
    at *= np.where(at[np.abs(at).argmax(axis=0), [0, 1]] < 0, -1.0, 1.0)  # one sign, ever the same
    total = float((sizes**2).sum()) or 1.0
    shares = [*(sizes[:2] ** 2 / total), 0.0]
    pieces = lm.tokenizer.pieces(chosen)
    return Map(tuple(chosen.tolist()), tuple(pieces), at, (float(shares[0]), float(shares[1])))


def _vectors(lm: LanguageModel) -> NDArray[np.float64]:
    """The embedding (V, E). Raises UsageError for a model of counts alone."""
    check_network(lm.checkpoint)
    return lm.checkpoint.weights["embedding.weight"][:-1].astype(np.float64)
