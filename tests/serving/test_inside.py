"""What a server says of a model itself: copies, gates, units, curves."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from charlm.serving.server import Server
from tests.support.cli import good, lines_of_json
from tests.support.serving import GOLDEN, ask, serving

TEXT = 'He said: "A pear (in 1984)."\nAnn'
SAME: list[tuple[str, dict[str, Any], list[str]]] = [
    ("gates", {"text": TEXT}, ["inspect", "gates", TEXT]),
    ("gates", {"text": TEXT, "layer": 1}, ["inspect", "gates", TEXT, "--layer", "1"]),
    ("units", {"text": TEXT}, ["inspect", "units", TEXT]),
    ("units", {"text": TEXT, "state": "h", "layer": 1, "top": 2},
     ["inspect", "units", TEXT, "--state", "h", "--layer", "1", "--top", "2"]),
    ("units", {"text": TEXT, "unit": "c1.3"}, ["inspect", "units", TEXT, "--unit", "c1.3"]),
    ("curves", {}, ["curves", "characters"]),
]  # fmt: skip
WRONG = [
    ("gates", {"text": ""}, "no text"),
    ("gates", {"text": "a", "layer": 2}, "layers 1 to 1"),
    ("gates", {"text": "a", "model": "labels"}, "choose one, such as east, north"),
    ("gates", {"text": "a", "label": "east"}, "knows no labels"),
    ("gates", {"text": "a", "model": "gaps"}, "is a cloze"),
    ("gates", {"text": "a" * 1001}, "up to 1,000 tokens"),
    ("gates", {"text": "a" * 10_001}, "up to 10,000 characters"),
    ("units", {"text": "a", "unit": "x"}, "such as h1.37, got 'x'"),
    ("units", {"text": "a", "unit": "h1.99"}, "there is no unit h1.99"),
    ("units", {"text": "a", "unit": "h9.1"}, "layers are 1 to 1"),
    ("copied", {"texts": "a", "model": "words"}, "keeps no index"),
    ("copied", {"texts": "a", "model": "classifier"}, "draws no texts"),
    ("copied", {"texts": "a", "least": 0}, "least must be"),
]


@pytest.mark.parametrize(("path", "body", "command"), SAME)
def test_an_answer_is_what_the_command_line_prints(
    server: Server, tmp_path: Path, path: str, body: dict[str, Any], command: list[str]
) -> None:
    """To the last digit: the equations read both."""
    shutil.copytree(GOLDEN, tmp_path / "runs")
    model = () if command[0] == "curves" else ("--model", "characters")
    expected = lines_of_json(good(*command, "--json", "--runs", str(tmp_path / "runs"), *model).out)
    found = ask(server, f"/v1/{path}", body)
    assert found.status == 200, found.data
    assert found.json["results"] == expected


@pytest.mark.parametrize(("path", "body", "why"), WRONG)
def test_what_cannot_be_is_refused(
    server: Server, path: str, body: dict[str, Any], why: str
) -> None:
    """In one sentence."""
    answer = ask(server, f"/v1/{path}", body)
    assert answer.status == 400
    assert why in answer.message


def test_copies_are_where_the_training_text_has_them(server: Server) -> None:
    """What a prompt brought is not counted; a whole sequence is known as one."""
    corpus = Path(GOLDEN.parent / "corpus" / "prose.txt").read_text(encoding="utf-8")
    line = next(one for one in corpus.splitlines() if len(one) > 30)
    texts = ["Zz" + line[:20] + "zZ", line]
    found = ask(server, "/v1/copied", {"texts": texts, "least": 15}).json
    first, second = found["results"]
    assert found["least"] == 15
    assert first["text"] == texts[0]
    (copy,) = first["copies"]
    assert (copy["start"], copy["end"]) == (2, 22)
    assert copy["times_in_training_text"] >= 1
    assert first["in_training_text"] is False
    assert second["in_training_text"] is True
    told = ask(server, "/v1/copied", {"texts": texts[0], "prompt": texts[0][:12], "least": 10}).json
    (copy,) = told["results"][0]["copies"]
    assert (copy["start"], copy["end"]) == (12, 22)


def test_a_run_without_notes_has_no_curves(tmp_path: Path) -> None:
    """And says so; with them it says of which step the answers are."""
    shutil.copytree(GOLDEN / "characters", tmp_path / "characters")
    with serving("characters", root=tmp_path) as server:
        found = ask(server, "/v1/curves", {}).json
        assert (found["step"], found["finished"]) == (35, True)
        (tmp_path / "characters" / "metrics.jsonl").unlink()
        assert "has no curves" in ask(server, "/v1/curves", {}).message


def test_a_model_tells_what_it_is(server: Server) -> None:
    """What the page offers depends on it."""
    found = {one["id"]: one for one in ask(server, "/v1/models").json["data"]}
    assert found["characters"]["has_index"] is True
    assert found["words"]["has_index"] is False
    assert found["translator"]["has_features"] is False
    assert all(
        one["num_layers"] >= 1 and one["hidden_size"] and one["cell"] for one in found.values()
    )
