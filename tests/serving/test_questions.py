"""charlm's own endpoints answer with the JSON that the command line prints."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from charlm.serving.server import Server
from tests.support.cli import good, lines_of_json
from tests.support.serving import GOLDEN, ask

SCORED = ["A pear salad", "A pair salad", ""]
# Endpoint, body, and the command that says the same.
SAME: list[tuple[str, dict[str, Any], list[str]]] = [
    ("score", {"model": "characters", "texts": SCORED}, ["score", *SCORED]),
    ("score", {"model": "words", "texts": "A pear", "per_token": True, "words": True,
               "unit": "bits"},
     ["score", "A pear", "--per-token", "--words", "--unit", "bits"]),
    ("score", {"model": "pieces", "texts": [" pear", " pair"], "context": "A", "closed": True},
     ["score", " pear", " pair", "--context", "A", "--closed"]),
    ("score", {"model": "gaps", "texts": SCORED, "per_token": True},
     ["score", *SCORED, "--per-token"]),
    ("score", {"model": "labels", "texts": SCORED[:2]}, ["score", *SCORED[:2]]),
    ("score", {"model": "translator", "source": "forty-two", "targets": ["42", "24"],
               "per_token": True},
     ["score", "--source", "forty-two", "42", "24", "--per-token"]),
    ("next", {"model": "words", "prefix": "A", "top": 5}, ["next", "A", "--top", "5"]),
    ("next", {"model": "characters", "top": 0, "unit": "log10"},
     ["next", "--all", "--unit", "log10"]),
    ("fill", {"model": "gaps", "texts": ["A [?] pear", "[?2]x"], "top": 4, "unk": "keep"},
     ["fill", "A [?] pear", "[?2]x", "--top", "4", "--unk", "keep"]),
    ("classify", {"model": "classifier", "texts": ["Adamou", "Abakumov"]},
     ["classify", "Adamou", "Abakumov"]),
    ("classify", {"model": "labels", "texts": "Adamou", "top": 1},
     ["classify", "Adamou", "--top", "1"]),
    ("translate", {"model": "translator", "sources": ["forty-two", "one"], "n_best": 2,
                   "length_penalty": 0.5},
     ["translate", "forty-two", "one", "--n-best", "2", "--length-penalty", "0.5"]),
]  # fmt: skip


def is_like(found: Any, expected: Any) -> bool:
    """Whether a JSON value is another's but for rounding, which another batch may bring."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(
            is_like(found[name], value) for name, value in expected.items()
        )
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(is_like, found, expected))
    if isinstance(expected, float):
        return bool(found == pytest.approx(expected, rel=1e-5, abs=1e-5))
    if isinstance(expected, str) and "e-" in expected:  # a probability
        return is_like(float(found), float(expected)) or found == expected
    return bool(found == expected)


@pytest.mark.parametrize(("path", "body", "command"), SAME)
def test_an_answer_is_what_the_command_line_prints(
    server: Server,
    tmp_path: Path,
    path: str,
    body: dict[str, Any],
    command: list[str],
) -> None:
    """Every field, and in the same order."""
    shutil.copytree(GOLDEN, tmp_path / "runs")
    where = ("--runs", str(tmp_path / "runs"), "--model", body["model"])
    expected = lines_of_json(good(*command, "--json", *where).out)
    found = ask(server, f"/v1/{path}", body)
    assert found.status == 200, found.data
    assert found.json["model"] == body["model"]
    assert is_like(found.json["results"], expected)
    assert list(found.json["results"][0]) == list(expected[0])


def test_what_comes_next_has_its_entropy(server: Server) -> None:
    """What the command line says beside the table."""
    found = ask(server, "/v1/next", {"model": "characters", "prefix": "é"}).json
    assert found["oov_tokens"] == 1
    assert found["types"] == 38
    assert found["perplexity"] == pytest.approx(2 ** found["entropy_bits"])


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("score", {"model": "tagger", "texts": "a"}, "tagger is a tagger: it gives no text"),
        ("score", {"model": "words"}, "texts is missing"),
        ("score", {"model": "words", "texts": []}, "texts must be from 1 to 1,024 strings"),
        ("score", {"model": "words", "texts": "a", "source": "b"}, "source: they are for a trans"),
        ("score", {"model": "words", "texts": "a", "label": "x"}, "words knows no labels"),
        ("score", {"model": "labels", "texts": "a", "label": "x"}, "label"),
        ("score", {"model": "translator", "texts": "a"}, "give a source and targets"),
        ("score", {"model": "gaps", "texts": "a", "label": "x"}, "gaps knows no labels"),
        ("next", {"model": "gaps"}, "gaps is a cloze: it has no next token"),
        ("next", {"model": "words", "top": -1}, "top must be a whole number"),
        ("fill", {"model": "words", "texts": "[?]"}, "reads from left to right alone"),
        ("fill", {"model": "gaps", "texts": "a"}, "there is no gap in the text"),
        ("fill", {"model": "gaps", "texts": ["[?60]", "[?60]"]}, "gaps may have up to 100 tokens"),
        ("fill", {"model": "gaps"}, "texts is missing: text with gaps"),
        ("classify", {"model": "words", "texts": "a"}, "words is a language-model: it knows no"),
        ("translate", {"model": "words", "sources": "a"}, "writes no targets for sources"),
        ("translate", {"model": "translator", "sources": "a", "features": "V"}, "features"),
        ("translate", {"model": "translator", "sources": "a" * 2001}, "up to 2,000 characters"),
    ],
)
def test_what_cannot_be_answered_is_named(
    server: Server, path: str, body: dict[str, Any], said: str
) -> None:
    """A sentence, and the status of a bad request."""
    answer = ask(server, f"/v1/{path}", body)
    assert answer.status == 400
    assert said in answer.message
