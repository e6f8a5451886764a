"""Scorer on Ray, Spark and Hugging Face datasets: line by line what charlm score prints.

They run where the packages of the dependency group bulk are installed (make test-bulk).
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from charlm.bulk import Scorer
from tests.support.bulk import DyingScorer
from tests.support.cli import good
from tests.support.scoring_models import LINES, make

ROOT = Path(__file__).parents[2]
NAMES = ["total_log_prob_nats", "tokens", "oov_tokens", "bits_per_character"]
TEXTS = LINES.splitlines()
# What engines warn of, and leave open, is their affair.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with texts and models."""
    return make(tmp_path_factory.mktemp("engines"), "word")


@pytest.fixture(scope="module")
def model(folder: Path) -> str:
    """A path to a model."""
    return str(folder / "checkpoints" / "word")


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[tuple[Any, ...]]:
    """Number, text and figures of each line, as charlm score prints them."""
    (folder / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    file, runs = str(folder / "texts.txt"), str(folder / "checkpoints")
    printed = good("score", "-m", "word", "--runs", runs, "--file", file, "--tsv").out
    head, *rows = printed.splitlines()
    names, cells = head.split("\t"), [row.split("\t") for row in rows]
    places = [names.index(name) for name in NAMES]
    return [
        (at, text, *(float(row[place]) for place in places))
        for at, (text, row) in enumerate(zip(TEXTS, cells, strict=True))
    ]


def check(rows: Iterable[dict[str, Any]], expected: list[tuple[Any, ...]]) -> None:
    """Every line is there once, with its figures: numbers are the same, log P to 1e-5 a token."""
    found = sorted((row["n"], row["text"], *(row[name] for name in NAMES)) for row in rows)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one[:2], one[3:5]) == (other[:2], other[3:5])
        assert one[2] == pytest.approx(other[2], abs=1e-5 * other[3])
        assert one[5] == pytest.approx(other[5], rel=1e-4)


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Ray on this machine, with two processors."""
    ray = pytest.importorskip("ray", reason="ray is not installed (make test-bulk)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield ray
        ray.shutdown()


@pytest.mark.parametrize("is_killed", [False, True])
def test_on_ray(
    ray: Any, model: str, expected: list[tuple[Any, ...]], tmp_path: Path, is_killed: bool
) -> None:
    """A pool of actors; one that is killed by force is replaced, and nothing is lost or doubled."""
    marker = tmp_path / "killed"
    kind, more = (DyingScorer, {"marker": str(marker)}) if is_killed else (Scorer, {})
    texts = ray.data.from_items([{"n": at, "text": text} for at, text in enumerate(TEXTS)])
    scored = texts.map_batches(
        kind,
        fn_constructor_kwargs={"model": model, "columns": NAMES, **more},
        compute=ray.data.ActorPoolStrategy(size=2),
        batch_size=50,
    )
    check(scored.take_all(), expected)
    assert marker.exists() == is_killed


def test_an_object_on_ray(ray: Any, model: str, expected: list[tuple[Any, ...]]) -> None:
    """The same object that is at home elsewhere, and batches of Arrow."""
    texts = ray.data.from_items([{"n": at, "text": text} for at, text in enumerate(TEXTS)])
    scored = texts.map_batches(Scorer(model), batch_format="pyarrow", batch_size=50)
    check(scored.take_all(), expected)


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """Spark on this machine: two threads, and four tries at a task."""
    pytest.importorskip("pyspark", reason="pyspark is not installed (make test-bulk)")
    from pyspark.sql import SparkSession  # type: ignore[import-not-found, unused-ignore]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        builder = SparkSession.builder.master("local[2,4]")
        for name, value in (
            ("spark.ui.enabled", "false"),
            ("spark.ui.showConsoleProgress", "false"),
            ("spark.sql.execution.arrow.maxRecordsPerBatch", "50"),
        ):
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        yield session
        session.stop()


@pytest.mark.parametrize("way", ["mapInPandas", "mapInArrow", "predict_batch_udf", "killed"])
def test_on_spark(
    spark: Any, model: str, expected: list[tuple[Any, ...]], tmp_path: Path, way: str
) -> None:
    """In each of the ways; a task whose process is killed by force is done again."""
    texts = spark.createDataFrame(list(enumerate(TEXTS)), "n bigint, text string").repartition(4)
    scorer = Scorer(model, columns=NAMES)
    schema = f"n bigint, text string, {scorer.ddl}"
    marker = tmp_path / "killed"
    if way == "killed":
        dying = DyingScorer(model, marker=str(marker), columns=NAMES)
        scored = texts.mapInPandas(dying.each, schema)
    elif way == "predict_batch_udf":
        from pyspark.ml.functions import (  # type: ignore[import-not-found, unused-ignore]
            predict_batch_udf,
        )
        from pyspark.sql.types import (  # type: ignore[import-not-found, unused-ignore]
            StructType,
        )

        figures = predict_batch_udf(
            lambda: scorer.figures, return_type=StructType.fromDDL(scorer.ddl), batch_size=50
        )
        scored = texts.withColumn("lm", figures("text")).select("n", "text", "lm.*")
    else:
        scored = getattr(texts, way)(scorer.each, schema)
    check([row.asDict() for row in scored.collect()], expected)
    assert marker.exists() == (way == "killed")


@pytest.fixture(scope="module")
def datasets() -> Any:
    """Datasets of Hugging Face."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed (make test-bulk)")
    datasets.disable_progress_bars()
    return datasets


@pytest.mark.parametrize("processes", [None, 2])
def test_in_datasets(
    datasets: Any,
    model: str,
    expected: list[tuple[Any, ...]],
    tmp_path: Path,
    processes: int | None,
) -> None:
    """map in batches, in several processes, too; what was done is found again in the cache."""
    texts = datasets.Dataset.from_dict({"n": list(range(len(TEXTS))), "text": TEXTS})
    again = [
        texts.map(
            Scorer(model, columns=NAMES),
            batched=True,
            batch_size=50,
            num_proc=processes,
            cache_file_name=str(tmp_path / "cache.arrow"),
        )
        for _ in range(2)
    ]
    check(again[0], expected)
    assert again[0]._fingerprint == again[1]._fingerprint


def test_a_killed_process_of_datasets_gives_no_wrong_result(
    datasets: Any, model: str, expected: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    """It is an error there; done again, all lines are right."""
    texts = datasets.Dataset.from_dict({"n": list(range(len(TEXTS))), "text": TEXTS})
    dying = DyingScorer(model, marker=str(tmp_path / "killed"), columns=NAMES)
    with pytest.raises(RuntimeError, match="abruptly died"):
        texts.map(dying, batched=True, batch_size=50, num_proc=2)
    check(texts.map(dying, batched=True, batch_size=50, num_proc=2), expected)


PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"^```python\n(.*?)^```\n(.*?)(?=^```|^#|\Z)", PAGE, re.DOTALL | re.MULTILINE)
NEEDED = ("datasets", "ray", "pyspark")


def needed_by(code: str) -> list[str]:
    """The packages of engines that a recipe imports."""
    return [name for name in NEEDED if re.search(rf"^(import|from) {name}\b", code, re.MULTILINE)]


def test_the_page_has_recipes() -> None:
    """One for each engine, and one for none."""
    assert len(RECIPES) == 4
    assert [needed_by(code) for code, _ in RECIPES] == [[], *([name] for name in NEEDED)]


@pytest.mark.parametrize(("code", "after"), RECIPES, ids=["alone", "datasets", "ray", "spark"])
def test_recipes_run_as_they_stand(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, after: str
) -> None:
    """In a directory with a model of that name; they print what is shown, with other figures."""
    for name in needed_by(code):
        pytest.importorskip(name, reason=f"{name} is not installed (make test-bulk)")
    shutil.copytree(folder / "checkpoints" / "word", tmp_path / "checkpoints" / "prose")
    shutil.copytree(ROOT / "data", tmp_path / "data")
    for name, value in (
        ("PYTHONPATH", str(ROOT)),
        ("PYSPARK_PYTHON", sys.executable),
        ("SPARK_LOCAL_IP", "127.0.0.1"),
        ("HF_HOME", str(tmp_path / "home")),
    ):
        monkeypatch.setenv(name, value)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, stdout=subprocess.PIPE, timeout=300
    )
    shown = [line[4:] for line in after.splitlines() if line.startswith("    ")]
    printed = [re.sub(r"[-\d.e+|]+", "0", line) for line in done.stdout.decode().splitlines()]
    assert {re.sub(r"[-\d.e+|]+", "0", line)[:20] for line in shown} <= {
        line[:20] for line in printed
    }
