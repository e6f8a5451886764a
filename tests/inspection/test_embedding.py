"""Laws of the embedding's neighbours and of its map."""

import numpy as np
import pytest

from charlm.errors import UsageError
from charlm.inspection.embedding import nearest, plane, type_of
from tests.support.inspected import random_lm


@pytest.mark.parametrize("level", ["char", "word", "subword"])
def test_neighbours_are_those_of_the_cosine(level: str) -> None:
    """All other types by their cosine, the nearest first; <UNK> and <EOS> are none."""
    lm = random_lm(level)
    vectors = lm.model.embedding.weight[:-1].double().numpy()
    word = "a" if level != "subword" else lm.tokenizer.pieces([300 - 20])[0]
    chosen = type_of(lm, word)
    found = nearest(lm, word, top=10_000)
    assert {one.id for one in found} == set(range(2, lm.tokenizer.vocab_size)) - {chosen}
    cosines = [one.cosine for one in found]
    assert cosines == sorted(cosines, reverse=True)
    for one in found[:5]:
        a, b = vectors[one.id], vectors[chosen]
        assert one.cosine == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=1e-6)
        assert [one.piece] == lm.tokenizer.pieces([one.id])
    assert nearest(lm, word, top=3) == found[:3]


def test_a_map_keeps_what_varies_most() -> None:
    """Distances in the plane are those of points that lie in one; shares add up to 1."""
    lm = random_lm("word")
    rng = np.random.default_rng(0)
    points = rng.normal(size=(lm.tokenizer.vocab_size, 2))
    basis = np.linalg.qr(rng.normal(size=(8, 2)))[0]
    weights = dict(lm.checkpoint.weights)
    weights["embedding.weight"][:-1] = points @ basis.T
    ids = range(2, 12)
    found = plane(lm, ids)
    assert sum(found.shares) == pytest.approx(1, abs=1e-6)
    assert found.shares[0] >= found.shares[1]
    assert found.pieces == tuple(lm.tokenizer.pieces(np.array(ids)))
    for i in range(10):
        expected = np.linalg.norm(points[2 + i] - points[2])
        assert np.linalg.norm(found.at[i] - found.at[0]) == pytest.approx(expected, abs=1e-5)


def test_what_is_no_type_is_refused() -> None:
    """A word that is unknown, a text of several tokens, a map of two."""
    lm = random_lm("word")
    with pytest.raises(UsageError, match="not in the vocabulary"):
        nearest(lm, "zebra")
    with pytest.raises(UsageError, match="2 tokens"):
        nearest(lm, "the cat")
    with pytest.raises(UsageError, match="three types"):
        plane(lm, [2, 3])
