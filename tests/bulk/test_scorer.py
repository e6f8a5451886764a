"""Laws of charlm.bulk.Scorer: the figures of charlm score, in batches of whatever kind."""

import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import charlm
from charlm.bulk import Scorer, scoring
from charlm.errors import CharlmError, CheckpointError, UsageError
from tests.support.cli import good
from tests.support.kinds import LABELLED
from tests.support.scoring_models import LINES, make


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with texts and models."""
    names = ("char", "word", "words", "gaps", "kinds", "heads", "pairs")
    return make(tmp_path_factory.mktemp("scorer"), *names)


def by_score(*asked: str) -> dict[str, list[str]]:
    """The columns that charlm score --tsv prints, by their names."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = [line.split("\t") for line in good("score", *asked, "--tsv").out.split("\n")[:-1]]
    torch.set_num_threads(threads)
    return {name: [row[at] for row in rows[1:]] for at, name in enumerate(rows[0])}


def written(values: Any) -> list[str]:
    """Values as tables hold them."""
    return ["" if value is None else str(value) for value in values]


@pytest.mark.parametrize(
    ("models", "options"),
    [
        (["char"], {}),
        (["word"], {"unit": "bits", "prefix": "lm_"}),
        (["word"], {"closed": True}),
        (["word"], {"context": "the bear"}),
        (["word", "words"], {"weights": [0.3, 0.7]}),
        (["word", "char"], {}),
        (["gaps"], {}),
        (["kinds"], {}),
        (["kinds"], {"label": LABELLED.split("\n")[0].split("\t")[1]}),
    ],
)
def test_figures_are_those_of_charlm_score(
    here: Path, models: list[str], options: dict[str, Any]
) -> None:
    """Of one batch that is a whole file, to the last digit, under the same names."""
    asked = [word for name in models for word in ("-m", name)]
    for name, value in options.items():
        told = ",".join(map(str, value)) if name == "weights" else str(value)
        asked += [f"--{name}"] if value is True else [f"--{name}", told]
    expected = by_score(*asked, "--file", "lines.txt")
    texts = Path("lines.txt").read_text().split("\n")
    scorer = Scorer(models if models[1:] else models[0], **options)
    found = scorer({"text": texts})
    assert [*expected] == [*scorer.names, "text"]
    assert {name: written(values) for name, values in found.items()} == expected


def test_figures_of_pairs_are_those_of_charlm_score(here: Path) -> None:
    """A translator reads two columns, called as asked."""
    expected = by_score("-m", "pairs", "--file", "pairs.tsv")
    pairs = [line.split("\t") for line in Path("pairs.tsv").read_text().splitlines()]
    scorer = Scorer("pairs", source="a", target="b")
    batch = {"a": [one for one, _ in pairs], "b": [other for _, other in pairs]}
    found = scorer(batch)
    assert {name: written(found[name]) for name in scorer.names} == {
        name: expected[name] for name in scorer.names
    }
    arrays = scorer.figures(np.array(batch["a"]), np.array(batch["b"]))
    assert arrays["tokens"].tolist() == found["tokens"]


@pytest.mark.parametrize("model", ["char", "word", "gaps"])
def test_figures_hardly_depend_on_the_batch(here: Path, model: str) -> None:
    """To 1e-5 nats per token; the same batch gives the same bits, whatever came before it."""
    texts = LINES.splitlines()
    whole, others = Scorer(model)({"text": texts}), Scorer(model)
    name = others.names[0]
    for begin in range(0, len(texts), 37):
        part = {"text": texts[begin : begin + 37]}
        found = others(part)
        near = zip(found[name], whole[name][begin : begin + 37], found["tokens"], strict=True)
        assert all(abs(one - other) < 1e-5 * number for one, other, number in near)
        assert Scorer(model)(part) == found
    assert Scorer(model)({"text": texts}) == whole


def test_a_large_batch_is_cut(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into portions that fit in memory, as a file is."""
    values = ["a" * 10] * 10
    assert [len(one) for one in scoring.portions(values, len)] == [10]
    monkeypatch.setattr(scoring, "MOST_TEXTS", 4)
    assert [len(one) for one in scoring.portions(values, len)] == [4, 4, 2]
    monkeypatch.setattr(scoring, "MOST_CHARACTERS", 25)
    assert [len(one) for one in scoring.portions(values, len)] == [3, 3, 3, 1]


def test_a_batch_comes_back_as_one_of_its_kind(here: Path) -> None:
    """Lists beside lists, arrays beside arrays; the batch itself stays as it was."""
    scorer = Scorer("char", columns=["tokens", "bits_per_character", "probability"])
    batch: dict[str, Any] = {"text": ["the bear", "", None], "n": [1, 2, 3]}
    found = scorer(batch)
    assert [*batch] == ["text", "n"]
    assert [*found] == ["text", "n", "tokens", "bits_per_character", "probability"]
    assert found["n"] == [1, 2, 3]
    assert found["tokens"] == [9, 1, None]
    assert found["bits_per_character"][1:] == [None, None]
    assert found["probability"][2] is None
    arrays = scorer({"text": np.array(["the bear", ""])})
    assert arrays["tokens"].dtype == np.int64
    assert arrays["tokens"].tolist() == [9, 1]
    assert arrays["bits_per_character"].dtype == np.float64
    assert np.isnan(arrays["bits_per_character"]).tolist() == [False, True]
    assert arrays["probability"].tolist() == found["probability"][:2]
    missing = scorer({"text": np.array(["the bear", None, np.nan], dtype=object)})
    assert np.isnan(missing["tokens"]).tolist() == [False, True, True]
    assert scorer({"text": []})["tokens"] == []
    assert [one["tokens"] for one in scorer.each([batch, {"text": ["a"]}])] == [[9, 1, None], [2]]
    assert scorer.ddl == "tokens bigint, bits_per_character double, probability string"


def test_data_frames_and_tables_of_arrow_keep_what_they_are(here: Path) -> None:
    """An index, nulls, types of columns, metadata."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed (group bulk)")
    scorer = Scorer("char", columns=["tokens", "bits_per_character", "probability"])
    frame = pandas.DataFrame({"text": ["the bear", "", None]}, index=[5, 6, 7])
    found = scorer(frame)
    assert list(frame.columns) == ["text"]
    assert list(found.index) == [5, 6, 7]
    assert str(found["tokens"].dtype) == "Int64"
    assert found["tokens"].isna().tolist() == [False, False, True]
    assert str(scorer(frame[:2])["tokens"].dtype) == "int64"
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed (group bulk)")
    schema = pyarrow.schema([pyarrow.field("text", pyarrow.string())], metadata={"of": "x"})
    table = pyarrow.table({"text": ["the bear", "", None]}, schema=schema)
    for batch in (table, table.to_batches()[0]):
        found = scorer(batch)
        assert type(found) is type(batch)
        assert found.column("tokens").to_pylist() == [9, 1, None]
        assert found.column("bits_per_character").to_pylist()[1:] == [None, None]
        assert found.schema.metadata == {b"of": b"x"}
        assert [str(kind) for kind in found.schema.types] == ["string", "int64", "double", "string"]


def test_what_cannot_be_is_refused_in_a_sentence(here: Path) -> None:
    """At once where it can be known, else with the first batch."""
    for kind, match, make_one in (
        (CheckpointError, "no model 'nothing'", lambda: Scorer("nothing")),
        (CheckpointError, "is a classifier", lambda: Scorer("heads")),
        (UsageError, "unit must be", lambda: Scorer("char", unit="nit")),
        (UsageError, "threads must be", lambda: Scorer("char", threads=0)),
        (UsageError, "'ppl' is no figure", lambda: Scorer("char", columns=["ppl"])),
        (UsageError, "'probability' is no figure", lambda: Scorer("gaps", columns=["probability"])),
        (UsageError, "a translator about pairs", lambda: Scorer("pairs", closed=True)),
        (UsageError, "sources", lambda: Scorer("char", features="f")),
        (UsageError, "mixed", lambda: Scorer(["char", "gaps"])),
        (UsageError, "give a model", lambda: Scorer([])),
        (UsageError, "knows no labels", lambda: Scorer("char", label="x")({"text": ["a"]})),
        (UsageError, "no column 'text'", lambda: Scorer("char")({"texts": ["a"]})),
        (UsageError, "'tokens' already", lambda: Scorer("char")({"text": ["a"], "tokens": [1]})),
        (UsageError, "number 2 of column 'text'", lambda: Scorer("char")({"text": ["a", 7]})),
        (UsageError, "a batch is a dict", lambda: Scorer("char")(["a"])),
        (UsageError, "give 1 columns", lambda: Scorer("char").figures(["a"], ["b"])),
    ):
        with pytest.raises(kind, match=match) as caught:
            make_one()  # type: ignore[no-untyped-call]
        assert isinstance(caught.value, CharlmError)


def test_it_travels_light_and_loads_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is pickled is a path and a hash; another process, elsewhere, gives the same bits."""
    scorer = Scorer("word")
    batch = {"text": LINES.splitlines()[:50]}
    found = scorer(batch)
    data = pickle.dumps(scorer)
    assert len(data) < 1000
    code = (
        "import pickle, sys\n"
        "scorer = pickle.loads(sys.stdin.buffer.read())\n"
        "sys.stdout.buffer.write(pickle.dumps(scorer(pickle.loads(sys.stdin.buffer.read()))))\n"
    )
    code = code.replace("pickle.loads(sys.stdin.buffer.read())", "pickle.load(sys.stdin.buffer)")
    given = data + pickle.dumps(batch)
    told = subprocess.run(
        [sys.executable, "-c", code], input=given, cwd="/", check=True, stdout=subprocess.PIPE
    )
    assert pickle.loads(told.stdout) == found
    loads = []
    monkeypatch.setattr("charlm.models.load.load", lambda *_, **__: loads.append(1))
    assert pickle.loads(data)(batch) == found
    assert not loads


def test_every_process_uses_the_model_that_was_found(here: Path, tmp_path: Path) -> None:
    """Of a run that has another by now nobody takes that instead."""
    run = tmp_path / "run"
    shutil.copytree(here / "checkpoints" / "word", run)
    scorer = Scorer(run)
    shutil.rmtree(run)
    shutil.copytree(here / "checkpoints" / "words", run)
    with pytest.raises(CheckpointError, match="not the model that it was"):
        scorer({"text": ["a"]})
    shutil.rmtree(run)
    with pytest.raises(CheckpointError):
        scorer({"text": ["a"]})


def test_threads_are_as_they_were(here: Path) -> None:
    """Whatever a scorer uses, its process has its own number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    charlm.bulk.Scorer("char")({"text": ["the bear"]})
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
