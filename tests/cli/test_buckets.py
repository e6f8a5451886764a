"""charlm score --bucket: each text goes into the file of its perplexity, and no file is torn."""

import contextlib
import errno
import itertools
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.cli.commands.score import texts
from charlm.cli.input import buckets, records
from charlm.cli.input.buckets import place, quantiles
from charlm.cli.output import bucket_files
from charlm.cli.output.bucket_files import BucketFiles, bucket_names
from tests.support.cli import bad, good
from tests.support.disks import Failing
from tests.support.scoring_models import LINES, make

TEXTS = LINES.splitlines()
THREE = ("head", "middle", "tail")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with models."""
    return make(tmp_path_factory.mktemp("buckets"), "word", "words", "pairs")


@pytest.fixture(autouse=True)
def empty(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a directory that holds a text and nothing else; portions are small."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARLM_RUNS", str(models / "checkpoints"))
    monkeypatch.setattr(records, "_BATCH_TEXTS", 50)
    Path("corpus.txt").write_bytes(LINES.encode())
    return tmp_path


def sort(*asked: str, **options: bytes) -> str:
    """Sort a file by the word model; what is said of it."""
    ended = good("score", "-m", "word", *asked, **options)
    assert ended.out == ""
    return ended.err


def perplexities(file: str = "corpus.txt") -> list[float]:
    """Those of the lines of a file, as charlm score prints them."""
    head, *rows = good("score", "-m", "word", "-f", file, "--tsv").out.splitlines()
    at = head.split("\t").index("perplexity_per_token")
    return [float(row.split("\t")[at]) for row in rows]


def listed(prefix: str = "corpus") -> dict[str, object]:
    """What is kept of bounds."""
    found: dict[str, object] = json.loads(Path(f"{prefix}.buckets.json").read_text())
    return found


@given(st.lists(st.floats(1, 100), min_size=1), st.integers(2, 6))
def test_quantiles_part_a_sample_evenly(values: list[float], number: int) -> None:
    """No bucket holds more than its share, rounded up, but for values that are equal to a bound."""
    bounds = quantiles(values, number)
    assert bounds == sorted(bounds)
    assert len(bounds) == number - 1
    for at, bound in enumerate(bounds, start=1):
        below = sum(value < bound for value in values)
        assert below <= len(values) * at // number <= below + values.count(bound)
    placed = [place(bounds, value) for value in values]
    assert placed == [sum(bound <= value for bound in bounds) for value in values]
    assert set(placed) <= set(range(number))


def test_each_text_is_in_one_bucket_as_it_came() -> None:
    """In the order of the file, by its perplexity; the whole file was the sample."""
    said = sort("-f", "corpus.txt", "--bucket", "3")
    found = [Path(f"corpus.{name}.txt").read_text().splitlines() for name in THREE]
    bounds = listed()["bounds"]
    assert isinstance(bounds, list)
    expected: list[list[str]] = [[], [], []]
    for text, perplexity in zip(TEXTS, perplexities(), strict=True):
        expected[place(bounds, perplexity)].append(text)
    assert found == expected
    assert all(abs(len(one) - len(TEXTS) / 3) < 20 for one in found)  # few have one perplexity
    assert listed()["buckets"] == [
        {"file": f"corpus.{name}.txt", "texts": len(one)}
        for name, one in zip(THREE, found, strict=True)
    ]
    assert listed()["sample"] == {"texts": len(TEXTS), "of": len(TEXTS), "seed": 0}
    assert f"bounds of perplexity: {bounds[0]:.6g}, {bounds[1]:.6g} (quantiles of" in said
    assert f"corpus.head.txt: {len(found[0])} texts" in said
    assert sorted(os.listdir()) == [
        *("corpus.buckets.json", "corpus.head.txt", "corpus.middle.txt", "corpus.tail.txt"),
        "corpus.txt",
    ]


def test_bounds_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long file some texts are enough, the same ones each time, from all over it."""
    monkeypatch.setattr(buckets, "SAMPLE", 40)
    assert "sample: 40 of 324 texts" in sort("-f", "corpus.txt", "--bucket", "4")
    bounds, every = listed()["bounds"], perplexities()
    assert isinstance(bounds, list)
    assert len(bounds) == 3
    assert all(min(abs(bound - one) for one in every) < 1e-3 for bound in bounds)
    assert [Path(f"corpus.{name}.txt").exists() for name in "1234"] == [True] * 4
    sort("-f", "corpus.txt", "--bucket", "4", "--bucket-to", "again")
    assert listed("again")["bounds"] == bounds


def test_bounds_that_are_given() -> None:
    """As numbers, of a pipe, too; or as another file's, which say whose they are."""
    sort("-f", "-", "--bounds", "30", "--bucket-to", "pipe", stdin=LINES.encode())
    lines = [Path(f"pipe.{name}.txt").read_text().splitlines() for name in ("head", "tail")]
    assert [len(one) for one in lines] == [
        sum(one < 30 for one in perplexities()),
        sum(one >= 30 for one in perplexities()),
    ]
    sort("-f", "corpus.txt", "--bucket", "3")
    said = sort("-f", "corpus.txt", "--bounds", "corpus.buckets.json", "--bucket-to", "again")
    assert "another model" not in said
    for name in THREE:
        again = Path(f"again.{name}.txt").read_bytes()
        assert again == Path(f"corpus.{name}.txt").read_bytes()
    given_again = ("-f", "corpus.txt", "--bounds", "corpus.buckets.json")
    other = good("score", "-m", "words", *given_again, "--bucket-to", "other")
    assert "these bounds are those of another model" in other.err


def test_lines_go_out_as_they_came_with_results_in_them() -> None:
    """Ends of lines and odd bytes of plain lines; records with results, tables with a header."""
    data = b"the bear\r\n\n\xff odd\r\n" + LINES.encode() + b"no end"
    Path("plain.txt").write_bytes(data)
    sort("-f", "plain.txt", "--bucket", "3", "--errors", "surrogateescape")
    found = [Path(f"plain.{name}.txt").read_bytes() for name in THREE]
    assert [one[-6:] == b"no end" for one in found].count(True) == 1
    lines = [line for one in found for line in one.splitlines(keepends=True)]
    assert sorted(lines) == sorted(data.splitlines(keepends=True))
    rows = [json.dumps({"n": at, "text": text}) for at, text in enumerate(TEXTS)]
    Path("rows.jsonl").write_text("".join(f"{row}\n" for row in rows) + "\n")
    sort("--jsonl", "-f", "rows.jsonl", "--bucket", "2")
    both = [Path(f"rows.{name}.jsonl").read_text().splitlines() for name in ("head", "tail")]
    (bound,) = listed("rows")["bounds"]  # type: ignore[misc]
    for at, lines in enumerate(both):
        assert {json.loads(line)["perplexity_per_token"] >= bound for line in lines} == {at == 1}
    numbers = sorted(json.loads(line)["n"] for line in itertools.chain(*both))
    assert numbers == list(range(len(TEXTS)))
    table = "".join(f"{at}\t{text}\n" for at, text in enumerate(TEXTS))
    Path("table.tsv").write_text(f"n\ttext\n{table}")
    sort("--column", "text", "-f", "table.tsv", "--bucket", "3", "--prefix", "lm_")
    for name in THREE:
        head, *lines = Path(f"table.{name}.tsv").read_text().splitlines()
        assert head.startswith("n\ttext\tlm_total_log_prob_nats\t")
        assert {len(line.split("\t")) for line in lines} == {len(head.split("\t"))}


def test_broken_lines_are_in_none() -> None:
    """They have no perplexity; that is said."""
    Path("odd.txt").write_bytes(LINES.encode() + b"\xff\n")
    assert "line 325" in bad(3, "score", "-m", "word", "-f", "odd.txt", "--bucket", "3")
    assert sorted(os.listdir()) == ["corpus.txt", "odd.txt"]
    said = sort("-f", "odd.txt", "--bucket", "3", "--on-error", "keep")
    assert "broken lines, left out" in said
    assert said.count("line 325") == 1
    sizes = [len(Path(f"odd.{name}.txt").read_bytes()) for name in THREE]
    assert sum(sizes) == len(LINES.encode())


def test_pairs_are_sorted_by_their_targets(models: Path) -> None:
    """Of a translator, by perplexity per token of the target."""
    Path("pairs.tsv").write_bytes((models / "pairs.tsv").read_bytes())
    good("score", "-m", "pairs", "-f", "pairs.tsv", "--bucket", "3")
    lines = [Path(f"pairs.{name}.tsv").read_text().splitlines() for name in THREE]
    assert sorted(itertools.chain(*lines)) == sorted(Path("pairs.tsv").read_text().splitlines())


def test_what_cannot_be_is_refused() -> None:
    """In a sentence, and nothing is written."""
    command = ("score", "-m", "word", "-f", "corpus.txt")
    assert "--bucket must be 2" in bad(2, *command, "--bucket", "1")
    assert "leave out one" in bad(2, *command, "--bucket", "3", "--bounds", "20")
    assert "20,80, got '80,20'" in bad(2, *command, "--bounds", "80,20")
    assert "got '20,x'" in bad(2, *command, "--bounds", "20,x")
    assert "got 'nan'" in bad(2, *command, "--bounds", "nan")
    assert "cannot read" in bad(2, *command, "--bounds", "none.json")
    Path("odd.json").write_text('{"bounds": [1, "x"]}')
    assert "holds no bounds" in bad(2, *command, "--bounds", "odd.json")
    pipe = ("score", "-m", "word", "-f", "-")
    assert "--bucket-to NAME" in bad(2, *pipe, "--bounds", "20", stdin=b"a\n")
    assert "read twice" in bad(2, *pipe, "--bucket", "3", "--bucket-to", "x", stdin=b"a\n")
    Path("corpus.head.txt").write_text("a\n")
    assert "is what is read" in bad(
        2, *command[:-1], "corpus.head.txt", "--bucket", "3", "--bucket-to", "corpus"
    )
    Path("nothing.txt").write_text("")
    assert "no text" in bad(3, *command[:-1], "nothing.txt", "--bucket", "3")
    assert "No such file" in bad(1, *command, "--bucket", "3", "--bucket-to", "no/where")
    Path("x.tail.txt").mkdir()
    assert "x.tail.txt" in bad(1, *command, "--bucket", "3", "--bucket-to", "x")
    assert sorted(os.listdir()) == sorted(
        ["corpus.head.txt", "corpus.txt", "nothing.txt", "odd.json", "x.tail.txt"]
    )


def test_several_processes_write_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buckets are filled from the one stream; here what shares it is told, not begun."""
    asked = []
    real = texts.in_processes
    monkeypatch.setattr(texts, "in_processes", lambda jobs: asked.append(jobs) or real(None))
    sort("-f", "corpus.txt", "--bucket", "3", "--jobs", "2")
    assert asked == [2]
    assert listed()["sample"] is not None


def filled(disk: Failing | None = None) -> None:
    """Three buckets, each of some lines."""
    more = {} if disk is None else {"disk": disk}
    with BucketFiles("x", THREE, ".txt", **more) as files:
        for at in range(30):
            files.write(at % 3, f"new {at}", "\n")
        files.about = {"bounds": [1.0, 2.0]}


def tree() -> dict[str, str]:
    """What is there."""
    return {path.name: path.read_text() for path in Path().iterdir() if path.name != "corpus.txt"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("before", [False, True])
def test_no_file_is_ever_torn(monkeypatch: pytest.MonkeyPatch, number: int, before: bool) -> None:
    """Whichever call the disk refuses: a file is as it was or whole, a list is of whole files."""
    monkeypatch.setattr(bucket_files, "_BLOCK", 20)
    filled()
    whole = tree()
    names = [f"x.{name}.txt" for name in THREE]
    old = dict.fromkeys((*names, "x.buckets.json"), "old\n") if before else {}
    ends = 0
    for k in itertools.count():
        for name in whole:
            Path(name).unlink(missing_ok=True)
        for name, text in old.items():
            Path(name).write_text(text)
        disk = Failing(k, number)
        try:
            filled(disk)
        except OSError:
            pass
        else:
            ends += disk.calls <= k
        found = {name: text for name, text in tree().items() if not name.startswith(".tmp-")}
        for name, text in found.items():
            assert text in (old.get(name), whole[name])
        if "x.buckets.json" in found:
            of = old if found["x.buckets.json"] == old.get("x.buckets.json") else whole
            assert found == of
        for path in Path().glob(".tmp-*"):
            assert number == errno.EROFS or disk.calls > k  # a disk that deletes no more
            path.unlink()
        if ends:
            break
    assert k > 8
    assert tree() == whole


def test_an_interruption_leaves_all_as_it_was() -> None:
    """Ctrl-C in the middle: nothing new, nothing under another name."""
    Path("x.head.txt").write_text("old\n")
    before = tree()
    assert before
    with contextlib.suppress(KeyboardInterrupt), BucketFiles("x", THREE, ".txt") as files:
        files.write(0, "new", "\n")
        raise KeyboardInterrupt
    assert tree() == before


def test_names_of_buckets() -> None:
    """Two and three have names, more are numbered."""
    assert bucket_names(2) == ("head", "tail")
    assert bucket_names(3) == THREE
    assert bucket_names(5) == ("1", "2", "3", "4", "5")
