"""Laws of copying: where <UNK> was written stands the token that was looked at most."""

import numpy as np
import pytest

from charlm.inference.pairs.copying import copied, surfaces
from charlm.tokenizers import train_tokenizer
from charlm.tokenizers.featured import FeaturedTokenizer

KNOWN = ["my name is , (and) yours"] * 2


@pytest.mark.parametrize("level", ["char", "word", "subword"])
def test_surfaces_are_the_source_in_parts(level: str) -> None:
    """As the text has them, unknown ones too; features and the end have none."""
    inner = train_tokenizer(KNOWN, level=level)
    tokenizer = FeaturedTokenizer(inner, ["V"])
    source = "my name is Ζορβάς\tV"
    there = surfaces(tokenizer, source)
    assert len(there) == len(tokenizer.encode(source)) + 1
    assert there[0] == there[-1] == ""
    if level != "subword":
        parts = {"char": source.partition("\t")[0], "word": source.split()[:4]}
        assert there[1:-1] == list(parts[level])


def test_words_are_copied_with_the_spaces_of_words() -> None:
    """Each <UNK> as the word of its row of shares; a larger share of the end does not count."""
    tokenizer = train_tokenizer(KNOWN, level="word")
    ids = tokenizer.encode("yours , (Zork) and Jane , my")
    assert (ids == 0).sum() == 2
    sources = ["I", "Jane", "Zork", ""]
    shares = np.zeros((len(ids), 4))
    first, second = np.flatnonzero(ids == 0)
    shares[first], shares[second] = (0.1, 0.1, 0.3, 0.5), (0.1, 0.2, 0.1, 0.6)
    assert copied(tokenizer, ids, shares, sources) == "yours , (Zork) and Jane , my"
    nothing = copied(tokenizer, ids, shares, ["", "", "", ""])
    assert nothing == "yours , (\ufffd) and \ufffd , my"


def test_characters_are_copied() -> None:
    """A word, too, where the source is read in words."""
    tokenizer = train_tokenizer(KNOWN, level="char")
    ids = tokenizer.encode("is Ω")
    shares = np.eye(5)[:, :3]
    shares[3] = (0, 1, 0)
    assert copied(tokenizer, ids, shares, ["w", "Ω", ""]) == "is Ω"
    assert copied(tokenizer, ids, shares, ["w", "omega", ""]) == "is omega"
