"""Laws of records: they go out as they came in, with the results added, or are called broken."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from charlm.cli.input.records import Columns, JsonLines, Record, batches, read
from charlm.cli.output.nbest import form_of, groups
from charlm.errors import UsageError
from charlm.fields.scores import rank
from charlm.text.formats import format_of, packed_as, wide_encoding
from charlm.text.streaming import Line, stream_lines

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
NAMES = ["total", "bits"]


def record(line: str, text: str | None = "x", number: int = 2) -> Record:
    """A record of a line."""
    return Record(number, line, text, None, 0)


def lines(*texts: str) -> list[Line]:
    """Lines of a file."""
    return [Line(text, 0) for text in texts]


@given(
    fields=st.dictionaries(st.text(max_size=5), JSON, max_size=4),
    results=st.dictionaries(st.sampled_from(NAMES), JSON, min_size=1),
    indent=st.sampled_from(["", " ", "\t "]),
)
@settings(deadline=None)
def test_an_object_keeps_its_fields_to_the_byte(
    fields: dict[str, Any], results: dict[str, Any], indent: str
) -> None:
    """The line begins as it did; read again, it has the old fields and the results."""
    for name in NAMES:
        fields.pop(name, None)
    fields["text"] = "a text"
    line = f"{indent}{json.dumps(fields)}{indent}"
    form = JsonLines("text", NAMES)
    assert form.text(line, 1) == "a text"
    written = form.written(record(line), results)
    assert written.startswith(line.rstrip()[:-1])
    assert json.loads(written) == {**fields, **results}
    assert form.written(record(line), {}) == line


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "no JSON"),
        ("[1]", "no JSON object"),
        ('{"other": 1}', 'no field "text"'),
        ('{"text": 1}', 'no text in the field "text" but a number'),
        ('{"text": true}', 'no text in the field "text" but true or false'),
        ('{"text": null}', 'no field "text"'),
        ('{"text": "a", "bits": 1}', 'a field "bits" already'),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_what_is_no_record_is_broken(line: str, what: str) -> None:
    """The reason is a sentence, and the line is still there."""
    (found,) = read(lines(line), JsonLines("text", NAMES))
    assert found is not None
    assert found.text is None
    assert found.line == line
    assert found.problem is not None
    assert found.problem.startswith("line 1 is broken: it ")
    assert what in found.problem


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('{"doc": {"text": "x"}}', "doc.text"),
        ('{"doc.text": "x", "doc": {"text": "y"}}', "doc.text"),
        ('{"a": {"b.c": {"d": "x"}, "b": {"d": "y"}}}', "a.b.c.d"),
        ('{"a.b": {"c": "x"}, "a": {"b": {"c": "y"}}}', "a.b.c"),
        ('{"a.b": {"d": "y"}, "a": {"b": {"c": "x"}}}', "a.b.c"),
        ('{"a": {"": "x"}}', "a."),
    ],
)
def test_fields_inside_others_are_named_by_dots(line: str, field: str) -> None:
    """A name with its dots comes first; results stand at the top, behind the last field."""
    form = JsonLines(field, NAMES)
    assert form.text(line, 1) == "x"
    assert form.written(record(line), {"bits": 2}) == f'{line[:-1]}, "bits": 2}}'
    for other in ('{"doc": "x"}', '{"doc": ["x"]}', '{"a": {"b": {"c": {}}}}'):
        (found,) = read(lines(other), JsonLines("doc.text", NAMES))
        assert found is not None
        assert found.problem == 'line 1 is broken: it has no field "doc.text".'


def test_numbers_and_escapes_stay_as_they_were() -> None:
    """Nothing of a line is read and written anew."""
    line = '{"n": 1.00, "big": 123456789012345678901234567890, "text": "\\u00e9 \\ud800"}'
    form = JsonLines("text", NAMES)
    assert form.text(line, 1) == "é \ud800"
    written = form.written(record(line), {"bits": "\ud800"})
    assert written == line[:-1] + ', "bits": "\\ud800"}'
    assert form.written(record('{"text":"a"} '), {"bits": 2}) == '{"text":"a", "bits": 2}'


@pytest.mark.parametrize(("column", "header"), [("2", False), ("2", True), ("text", False)])
def test_columns_are_kept_and_results_come_behind(column: str, header: bool) -> None:
    """A header names the results too; an empty line stays empty; a short row is broken."""
    form = Columns(column, NAMES, header=header)
    rows = ["id\ttext\tn", "1\ta text\t1.50", "", "2"]
    found = [item for item in read(lines(*rows), form) if item is not None]
    is_header = header or column == "text"
    assert [item.text for item in found] == [None if is_header else "text", "a text", None, None]
    assert [item.problem for item in found][:3] == [None] * 3
    assert found[3].problem == "line 4 is broken: it has 1 columns, not 2."
    results = {"total": -1.5, "bits": None}
    assert form.written(found[1], results) == "1\ta text\t1.50\t-1.5\t"
    assert form.written(found[2], {}) == ""
    if is_header:
        assert form.written(found[0], {}) == "id\ttext\tn\ttotal\tbits"


def test_a_column_has_to_be_there() -> None:
    """A name is one of the first line's, and numbers count from 1."""
    with pytest.raises(UsageError, match='no column "x"'):
        list(read(lines("a\tb"), Columns("x", NAMES, header=False)))
    with pytest.raises(UsageError, match="from 1"):
        Columns("0", NAMES, header=False)


def test_batches_do_not_wait_for_what_is_not_there() -> None:
    """A pause ends a batch, and so does a fill; none is empty; order is kept."""
    some = [record(str(i), number=i) for i in range(10)]
    portions = list(batches([None, some[0], some[1], None, None, *some[2:], None]))
    assert [[item.number for item in portion] for portion in portions] == [[0, 1], [*range(2, 10)]]
    many = [record("x", number=i) for i in range(10_000)]
    portions = list(batches(many))
    assert [item for portion in portions for item in portion] == many
    assert max(map(len, portions)) == 4096
    long = [record("x" * 2**19, number=i) for i in range(5)]
    assert [len(portion) for portion in batches(long)] == [2, 2, 1]


@given(pieces=st.lists(st.binary(max_size=30), max_size=8))
@settings(max_examples=30, deadline=None)
def test_a_pipe_gives_the_lines_of_a_file(pieces: list[bytes]) -> None:
    """However the bytes arrive, the lines are those of the bytes; bad bytes can be written back."""
    data = b"\n".join(pieces).replace(b"\xff\xfe", b"").replace(b"\xfe\xff", b"")
    data = data.removeprefix(b"\xef\xbb\xbf")
    assume(wide_encoding(data) is None)
    assume(packed_as(data) is None)
    assume(format_of(data) is None)
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", type("In", (), {"buffer": stream}))
        found = [line for line in stream_lines("-") if line is not None]
    raw = [line.text.encode("utf-8", "surrogateescape") for line in found]
    assert (
        b"".join(one + line.ending.encode() for one, line in zip(raw, found, strict=True)) == data
    )
    assert not any(b"\n" in one or b"\r" in one for one in raw)
    assert all(line.ending for line in found[:-1])
    for line, bytes_of in zip(found, raw, strict=True):
        try:
            bytes_of.decode()
        except UnicodeDecodeError:
            assert line.problem is not None
        else:
            assert line.problem is None


def test_a_line_is_given_out_before_the_next_one_comes() -> None:
    """None says that stdin has no more at the moment: nobody has to wait for a whole portion."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", type("In", (), {"buffer": stream}))
        found = stream_lines("-")
        assert next(found) is None
        os.write(writer, b"one\ntwo\nthr")
        assert [next(found), next(found)] == [Line("one", 4), Line("two", 8)]
        assert next(found) is None
        os.write(writer, b"ee")
        os.close(writer)
        assert list(found) == [Line("three", 13, ending="")]


def test_hypotheses_have_an_id_a_text_and_perhaps_a_score() -> None:
    """In columns or in fields; what is no number is broken."""
    rows = form_of(None, NAMES)
    assert (rows.text("a\tone two\t-3.5", 1), rows.group("a\tx"), rows.other("a\tx\t-3.5")) == (
        "one two",
        "a",
        -3.5,
    )
    assert rows.other("a\tx") == rows.other("a\tx\t") == 0
    objects = form_of("text", NAMES)
    line = '{"id": 7, "text": "x", "score": -1}'
    assert (objects.text(line, 1), objects.group(line), objects.other(line)) == ("x", "7", -1)
    for form, broken in (
        (rows, "a\tx\tmuch"),
        (rows, "a\tx\tnan"),
        (rows, "a\tx\t1_0"),
        (rows, "a\tx\t1e400"),
        (objects, '{"id": 7, "text": "x", "score": "much"}'),
        (objects, '{"id": 7, "text": "x", "score": true}'),
        (objects, '{"text": "x"}'),
    ):
        with pytest.raises(ValueError, match="it"):
            form.text(broken, 1)
    assert math.isclose(objects.other('{"id": 1, "text": "x", "score": "2.5"}'), 2.5)


def test_an_id_that_comes_back_is_told() -> None:
    """Lines of one id follow one another; an id further down would make a second first place."""
    for form, rows in (
        (form_of(None, NAMES), ["u1\ta", "u1\tb", "u2\tc", "u1\td", "u2\te"]),
        (
            form_of("text", NAMES),
            [json.dumps({"id": i, "text": "x"}) for i in (1, 1, "1", 1, "1")],
        ),
    ):
        found = [item for item in read(lines(*rows), form) if item is not None]
        broken = [item.problem is not None for item in found]
        assert broken == [False, False, False, True, False]
        assert "line 4 is broken: its id " in str(found[3].problem)
        assert [len(group) for group in groups(iter(found), form)] == [2, 1, 2]


@given(values=st.lists(st.sampled_from([-2.0, -1.0, -0.0, 0.0, 0.5]), max_size=9))
def test_equals_share_a_place(values: list[float]) -> None:
    """A place is one more than the number of those that are larger."""
    assert rank(values) == [1 + sum(other > value for other in values) for value in values]


def test_ranks_take_no_time_squared() -> None:
    """Each value is looked at a few times, not once for each other one."""

    class Counted(float):
        looks = 0

        def __lt__(self, other: object) -> bool:
            Counted.looks += 1
            return float(self) < float(other)  # type: ignore[arg-type]

        def __eq__(self, other: object) -> bool:
            Counted.looks += 1
            return float(self) == float(other)  # type: ignore[arg-type]

        __hash__ = float.__hash__

    values = [Counted((7919 * index) % 4001) for index in range(4000)]
    assert sorted(rank(values)) == list(range(1, 4001))
    assert Counted.looks < 40 * 4000


@pytest.mark.slow
def test_results_come_while_the_input_is_still_open(tmp_path: Path) -> None:
    """Each line is answered before the next is sent."""
    from tests.support.tiny import material_of, trained_run

    run = trained_run(tmp_path / "run", material=material_of(), num_steps=3)
    command = [sys.executable, "-m", "charlm", "score", "--json", "--model", str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text in (b"the cat", b"a dog"):
            process.stdin.write(text + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["text"] == text.decode()
        process.stdin.close()
        assert process.stdout.read() == b""
    assert process.returncode == 0
