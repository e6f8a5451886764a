"""charlm tokenize: pieces, ids and ranges."""

from pathlib import Path

import pytest

from charlm.config import LEVELS
from tests.support.cli import bad, good, lines_of_json
from tests.support.texts import AWKWARD_TEXT


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("text", ["the bear", "", AWKWARD_TEXT])
def test_tokenize_shows_pieces_and_ids(here: Path, level: str, text: str) -> None:
    """Each token has an id, a piece and a range; the last line says what they give."""
    options = ("--model", level, "--", text)
    (tokens,) = lines_of_json(good("tokenize", "--json", *options).out)
    assert tokens["text"] == text
    assert len(tokens["ids"]) == len(tokens["pieces"]) == len(tokens["offsets"])
    *rows, last = good("tokenize", *options).out.removesuffix("\n").split("\n")
    assert [int(row.split()[0]) for row in rows] == tokens["ids"]
    assert last.startswith(f"{len(rows)} tokens; decoded: ")
    if text == "the bear":
        assert tokens["decoded"] == text


def test_tokenize_from_stdin(here: Path) -> None:
    """`-` is standard input, taken whole."""
    (tokens,) = lines_of_json(good("tokenize", "-", "--json", stdin=b"a\nb\n").out)
    assert tokens["text"] == "a\nb\n"
    assert "UTF-8" in bad(3, "tokenize", "-", stdin=b"\xff")
