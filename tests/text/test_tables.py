"""Laws of tables: what a row is, where results go, and that nothing is read as what it is not."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.cli.input.records import Columns, read
from charlm.errors import TextError, UsageError
from charlm.text.labelled import LabelSource, read_labelled
from charlm.text.streaming import Line
from charlm.text.tables import NAMES, Csv, looks_like
from charlm.training.request import Request
from charlm.training.texts.sequences import read_texts
from tests.support.cli import Ended, charlm, good
from tests.support.tiny import material_of, trained_run

CELL = st.text(st.sampled_from('ab ,;"\n\té'), max_size=8)
TABLE = 'item,condition,sentence\n1,a,"the ""cat"", a dog"\n2,b,"the mat\nand a cat"\n3,b,a dog\n'
TEXTS = ['the "cat", a dog', "the mat\nand a cat", "a dog"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small model of words."""
    path = tmp_path_factory.mktemp("tables") / "run"
    return str(trained_run(path, material=material_of(level="word"), num_steps=3))


def output(*arguments: str, stdin: str = "") -> str:
    """What a run that has to work writes."""
    return good(*arguments, stdin=stdin.encode()).out


def ended_of(*arguments: str, stdin: str = "") -> Ended:
    """How the command line ends."""
    return charlm(*arguments, stdin=stdin.encode())


def rows_of(text: str, delimiter: str = ",") -> list[list[str]]:
    """A table as any other program reads it."""
    return list(csv.reader(io.StringIO(text), delimiter=delimiter))


def lines(text: str) -> list[Line]:
    """The lines of a text."""
    return [Line(line, 0) for line in text.split("\n")[:-1]]


@given(
    rows=st.lists(st.lists(CELL, min_size=2, max_size=2), min_size=1, max_size=5),
    delimiter=st.sampled_from([*NAMES]),
    results=st.lists(CELL, min_size=1, max_size=3),
)
@settings(deadline=None, max_examples=100)
def test_csv_is_what_any_program_reads(
    rows: list[list[str]], delimiter: str, results: list[str]
) -> None:
    """Cells come out of their quotes; written back a row is as it was, results behind it."""
    written = io.StringIO()
    writer = csv.writer(written, delimiter=delimiter, lineterminator="\n")
    writer.writerow(["id", "the text"])
    for row in rows:
        writer.writerow(row)
    form = Columns("the text", ["r"] * len(results), header=True, table=Csv())
    head, *found = [one for one in read(lines(written.getvalue()), form) if one is not None]
    assert [one.problem for one in found] == [None] * len(rows)
    assert [one.text for one in found] == [row[1] for row in rows]
    assert [one.number for one in found] == [
        2 + sum(cell.count("\n") for row in rows[:place] for cell in row) + place
        for place in range(len(rows))
    ]
    again = "".join(f"{one.line}\n" for one in (head, *found))
    assert again == written.getvalue()
    out = [form.written(one, {str(at): value for at, value in enumerate(results)}) for one in found]
    table = rows_of("".join(f"{row}\n" for row in out), delimiter)
    assert table == [[*row, *results] for row in rows]


@pytest.mark.parametrize(("flag", "name"), [((), "table.CSV"), (("--csv",), "table.txt")])
def test_csv_is_told_by_its_name_or_by_an_option(
    run: str, tmp_path: Path, flag: tuple[str, ...], name: str
) -> None:
    """Each text is what stands in its cell, and what goes out is CSV again."""
    (tmp_path / name).write_text(TABLE)
    for column in (("--column", "sentence"), ("--column", "3", "--header")):
        out = output("score", "-m", run, *column, *flag, "--file", str(tmp_path / name))
        head, *rows = rows_of(out)
        assert [row[:3] for row in (head, *rows)] == rows_of(TABLE)
        for row, text in zip(rows, TEXTS, strict=True):
            alone = json.loads(output("score", "-m", run, "--json", text))
            figures = dict(zip(head, row, strict=True))
            total = float(figures["total_log_prob_nats"])
            assert total == pytest.approx(alone["total_log_prob_nats"], rel=1e-5)
            assert int(figures["characters"]) == len(text)


@pytest.mark.parametrize("ending", ["\r\n", "\n"])
@pytest.mark.parametrize("last", [True, False])
def test_rows_end_as_they_came(run: str, ending: str, last: bool) -> None:
    """Inside quotes too; the figures do not depend on it, and each row of a word has an end."""
    table = TABLE.replace("\n", ending)
    table = table if last else table.removesuffix(ending)
    options = ("-m", run, "--csv", "--column", "sentence")
    out = output("score", *options, stdin=table)
    assert (
        out.replace(ending, "\n") == output("score", *options, stdin=TABLE)[: None if last else -1]
    )
    assert out.endswith(ending) is last
    assert out.count(ending) == out.count("\n")
    words = output("score", *options, "--words", stdin=table)
    plain = output("score", *options, "--words", stdin=TABLE)[: None if last else -1]
    assert len(words.split(ending)) == len(plain.split("\n"))


def test_semicolons_are_noticed(run: str) -> None:
    """The first row tells what stands between cells."""
    table = 'id;text\n1;the cat, a dog\n2;"a; b"\n'
    out = output("score", "-m", run, "--csv", "--column", "text", stdin=table)
    assert [row[:2] for row in rows_of(out, ";")] == rows_of(table, ";")


def test_a_quote_that_is_not_closed_is_broken(run: str) -> None:
    """With the number of its line; it can be kept as it was."""
    table = 'text\nthe cat\n"a dog\nand more\n'
    stopped = ended_of("score", "-m", run, "--csv", "--column", "text", stdin=table)
    assert stopped.code == 3
    assert b"line 3 is broken: its quotes are not those of CSV" in stopped.stderr
    assert stopped.stdout.count(b"\n") == 2
    options = ("--csv", "--column", "text", "--on-error", "keep")
    assert output("score", "-m", run, *options, stdin=table).endswith('\n"a dog\nand more\n')


@pytest.mark.parametrize("command", ["score", "classify"])
@pytest.mark.parametrize("name", ["a.csv", "b.tsv", "c.jsonl", "d.ndjson", "e.csv.gz"])
def test_a_table_is_not_scored_as_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, name: str
) -> None:
    """By its name it is refused, with the option that reads it, before a model is loaded."""
    monkeypatch.chdir(tmp_path)
    ended = ended_of(command, "--file", name)
    assert ended.code == 2
    assert (b"--jsonl" if "json" in name or "nd" in name else b"--column") in ended.stderr


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("a,b\n1,the cat\n2,a dog\n", "--csv --column 2"),
        ("1;a\n2;b\n3;c\n4;d\n5;e\n6;f\n", "--csv --column 2"),
        ("1\ta\n2\tb\n3\tc\n", "--column 2"),
        ('{"text": "a"}\n', "--jsonl"),
        ("1\ta" + "\t_" * 8 + "\n", "charlm tag"),
        ("A cat, a dog.\nThe mat.\nA dog, a cat, and so on.\n", None),
    ],
)
def test_what_looks_like_a_table_is_said(run: str, table: str, said: str | None) -> None:
    """In a pipe lines are texts all the same; whoever meant a column hears of it."""
    ended = ended_of("score", "-m", run, "--json", stdin=table)
    assert ended.code == 0
    assert ended.stdout.count(b"\n") == table.count("\n")
    told = "each line is taken as a text, but they look like" in ended.err
    assert told is (said is not None)
    assert (said or "") in ended.err
    assert looks_like([]) is None


@pytest.mark.parametrize(
    "form", [{"form": "column:kind", "text_column": "text"}, {"form": "column:3", "text_column": 2}]
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_labels_stand_in_csv(tmp_path: Path, form: dict[str, Any], delimiter: str) -> None:
    """By a file's name; texts come out of their quotes, and may hold what stands between cells."""
    rows = [("1", f'the "cat"{delimiter} a dog', "x"), ("2", "the mat\nand a cat", "y")]
    written = io.StringIO()
    names = [("id", "text", "kind")]
    csv.writer(written, delimiter=delimiter).writerows([*names, *rows])
    (tmp_path / "a.csv").write_text(written.getvalue())
    source = LabelSource.parse(**form, header=True)
    found, split_on, notes = read_labelled([tmp_path / "a.csv"], source)
    assert [tuple(one) for one in found] == [row[1:] for row in rows]
    assert (split_on, notes) == ("paragraph", ())
    (tmp_path / "a.csv").write_text('id,text,kind\n1,a,x\n2,"b,y\n')
    with pytest.raises(TextError, match="line 3: a quote that is opened is not closed"):
        read_labelled([tmp_path / "a.csv"], source)
    (tmp_path / "a.txt").write_text("id,text,kind\n1,a,x\n")
    with pytest.raises(TextError, match=r"commas|no column"):
        read_labelled([tmp_path / "a.txt"], source)


def test_a_table_that_is_read_as_text_is_told(tmp_path: Path, run: str) -> None:
    """In training and in evaluating, too: its rows are texts, and whoever meant a column hears."""
    path = tmp_path / "rows.txt"
    path.write_text("".join(f"{n},the cat {n},x\n" for n in range(60)))
    said = f"{path}: its lines look like columns between commas, and are read as they stand"
    notes: list[str] = []
    read_texts(Request(corpus=(str(path),), seed=0), notes.append)
    assert said in notes
    ended = ended_of("evaluate", "-m", run, str(path))
    assert said in ended.err
    for name, text, what in (
        ("a.csv", 'text,kind\n"the cat\nand a dog",x\n', "columns between commas"),
        ("b.csv", "text;kind\nthe cat;x\n", "columns between semicolons"),
        ("c.tsv", "the cat\tx\n", "columns between tabs"),
        ("d.txt", "# sent_id = 1\n1\ta" + "\t_" * 8 + "\n", "CoNLL-U"),
    ):
        (tmp_path / name).write_text(text)
        ended = ended_of("evaluate", "-m", run, str(tmp_path / name))
        assert f"{name}: its lines look like {what}, and are read" in ended.err
    path.write_text("The cat, a dog.\nThe mat.\nA dog.\n" * 20)
    assert "look like" not in ended_of("evaluate", "-m", run, str(path)).err


def test_commas_are_not_read_as_columns_between_tabs(run: str) -> None:
    """A header without a tab but with commas is no header of columns between tabs."""
    for column in (("--column", "item"), ("--column", "1", "--header")):
        ended = ended_of("score", "-m", run, *column, stdin=TABLE)
        assert ended.code == 2
        assert b"this looks like commas: give --csv" in ended.stderr
    ended = ended_of("score", "-m", run, "--column", "text", stdin='{"text": "a", "kind": 1}\n')
    assert (ended.code, b"--jsonl reads a field" in ended.stderr) == (2, True)
    ended = ended_of("score", "-m", run, "--column", "item", stdin="the cat sat " * 9000 + "\n")
    assert (ended.code, len(ended.stderr) < 200) == (2, True)


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_table_is_named_by_what_it_may_hold(tmp_path: Path, run: str, suffix: str) -> None:
    """Semicolons cut a .csv as well as commas do: the refusal is true of both."""
    (tmp_path / f"a{suffix}").write_text("text;kind\na;b\n")
    ended = ended_of("score", "-m", run, "--file", str(tmp_path / f"a{suffix}"))
    between = {".csv": b"commas or semicolons", ".tsv": b"tabs"}[suffix]
    assert (ended.code, b"columns between " + between in ended.stderr) == (2, True)


@pytest.mark.parametrize("kind", ["--words", "--per-token"])
@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_a_row_a_word_keeps_the_columns(run: str, kind: str, delimiter: str) -> None:
    """Item and condition stand beside each word; its figures are those of --json."""
    name, field = ("word", "per_word") if kind == "--words" else ("token", "per_token")
    texts = ["the cat sat", "", "a dog"]
    table = "".join(
        f"{delimiter.join(row)}\n"
        for row in [("item", "text", "kind"), *((f"i{n}", t, "x") for n, t in enumerate(texts))]
    )
    options = ("--column", "text", *(["--csv"] if delimiter == "," else []), kind)
    head, *rows = rows_of(output("score", "-m", run, *options, stdin=table), delimiter)
    expected = [json.loads(output("score", "-m", run, "--json", kind, text)) for text in texts]
    assert head[:6] == ["item", "text", "kind", "text_number", f"{name}_number", name]
    places = [(f"i{n}", t, "x") for n, t in enumerate(texts) for _ in expected[n][field]]
    assert [tuple(row[:3]) for row in rows] == places
    figures = [figure for one in expected for figure in one[field]]
    for row, figure, place in zip(rows, figures, places, strict=True):
        assert row[3] == str(int(place[0][1:]) + 1)
        told = dict(zip(head[5:], row[5:], strict=True))
        assert {key: told[key] for key in figure} == {
            key: str(value) if not isinstance(value, float) else row[head.index(key)]
            for key, value in figure.items()
        }
        assert float(row[head.index("surprisal_bits")]) == pytest.approx(figure["surprisal_bits"])
    assert [row[4] for row in rows][: len(expected[0][field])] == [
        str(place) for place in range(1, len(expected[0][field]) + 1)
    ]


def test_what_has_no_row_is_counted(run: str) -> None:
    """A table of words has no place for broken lines: how many are left out is said."""
    broken = b"the cat\n\xff\na dog\n"
    for options in (
        ("--words", "--tsv"),
        ("--per-token", "--tsv"),
        ("--words", "--column", "1"),
        ("--heatmap",),
        (),
    ):
        ended = charlm("score", "-m", run, *options, "--on-error", "keep", stdin=broken)
        assert ended.code == 0
        assert b"broken lines, left out, for there is no row for them: 1" in ended.stderr
        assert b"kept as they were" not in ended.stderr
        assert b"\xff" not in ended.stdout
    ended = charlm("score", "-m", run, "--tsv", "--on-error", "keep", stdin=broken)
    assert b"kept as they were: 1" in ended.stderr


def test_results_stand_below_their_names(run: str) -> None:
    """A short row is filled up, one that is too long is broken, and no name is there twice."""
    table = "id\ttext\tnote\n1\tthe cat\n2\ta dog\tx\n"
    head, *rows = rows_of(output("score", "-m", run, "--column", "text", stdin=table), "\t")
    assert {len(row) for row in rows} == {len(head)}
    ended = ended_of("score", "-m", run, "--column", "text", stdin="text\na\tb\n")
    assert ended.code == 3
    assert b"it has 2 columns, the first line names 1" in ended.stderr
    ended = ended_of("score", "-m", run, "--column", "text", stdin="text\ttokens\na\tb\n")
    assert ended.code == 2
    assert b'a column "tokens" already' in ended.stderr
    options = ("--column", "text", "--prefix", "m_")
    assert "m_tokens" in output("score", "-m", run, *options, stdin="text\ttokens\na\tb\n")
    with pytest.raises(UsageError, match='no column "x" in the first line, which names "a"'):
        list(read(lines("a\n"), Columns("x", ["r"], header=False)))


HYPOTHESES = [
    ("u1", "the cat", "1"),
    ("u1", "a dog", "2.5"),
    ("u2", "the mat", ""),
    ("u2", "x", ""),
]


@pytest.mark.parametrize("form", ["tabs", "header", "csv", "json"])
@pytest.mark.parametrize("written", [(), ("--json",), ("--tsv",)])
def test_hypotheses_go_out_below_their_names(run: str, form: str, written: tuple[str]) -> None:
    """In every form the same rows in the same order; the best of each id alone with --best."""
    if form == "json":
        if written:
            pytest.skip("results go into the objects")
        objects = [
            {"id": i, "text": t, **({"score": float(s)} if s else {})} for i, t, s in HYPOTHESES
        ]
        table, options = "".join(f"{json.dumps(one)}\n" for one in objects), ("--jsonl",)
    else:
        table = "".join(f"{'	'.join(row)}\n" for row in HYPOTHESES)
        options = {"tabs": (), "header": ("--header",), "csv": ("--csv",)}[form]
        if form == "header":  # names say which is which
            table = "text\tscore\tid\n" + "".join(f"{t}\t{s}\t{i}\n" for i, t, s in HYPOTHESES)
        if form == "csv":
            table = table.replace("\t", ",")
    found = {}
    for best in ((), ("--best",)):
        out = output("score", "-m", run, "--nbest", *options, *written, *best, stdin=table)
        if form == "json" or written == ("--json",):
            rows = [json.loads(line) for line in out.splitlines()]
        else:
            head, *cells = rows_of(out, "," if form == "csv" and not written else "\t")
            assert {"id", "text", "score", "total_score", "rank_in_group"} <= set(head)
            rows = [dict(zip(head, row, strict=True)) for row in cells]
        found[best] = [(row["id"], row["text"], int(row["rank_in_group"])) for row in rows]
    assert sorted(row[:2] for row in found[()]) == sorted(row[:2] for row in HYPOTHESES)
    assert [row[2] for row in found[()]] == [1, 2, 1, 2]
    assert found["--best",] == [row for row in found[()] if row[2] == 1]


def test_the_first_of_equals_is_the_best(run: str) -> None:
    """One line an id, and how many could have been another is said; all share the first rank."""
    table = "u\ta dog\nu\ta dog\nv\tthe cat\n"
    ended = ended_of("score", "-m", run, "--nbest", "--best", stdin=table)
    assert [line.split(b"\t")[0] for line in ended.stdout.splitlines()] == [b"id", b"u", b"v"]
    assert b"several are the best, the first of each written: 1" in ended.stderr
    ranks = [
        line.split("\t")[-1]
        for line in output("score", "--nbest", "-m", run, stdin=table).splitlines()
    ]
    assert ranks == ["rank_in_group", "1", "1", "1"]


def test_a_header_of_hypotheses_is_not_a_hypothesis(run: str) -> None:
    """Where it is not said to be one, its score is no number, and the way out is named."""
    ended = ended_of("score", "-m", run, "--nbest", stdin="id\ttext\tscore\nu\ta dog\t1\n")
    assert ended.code == 3
    assert b"Give --header" in ended.stderr


def test_a_row_of_hypotheses_is_as_wide_as_the_first(run: str) -> None:
    """Further columns are named by their numbers; a row that is wider is broken."""
    out = output("score", "-m", run, "--nbest", stdin="u\ta dog\t1\tx\nu\tthe cat\n")
    assert out.startswith("id\ttext\tscore\tcolumn_4\t")
    assert len({line.count("\t") for line in out.splitlines()}) == 1
    ended = ended_of("score", "-m", run, "--nbest", stdin="u\ta dog\nu\tb\t1\t2\n")
    assert ended.code == 3
    assert b"it has 4 columns, not 3" in ended.stderr
