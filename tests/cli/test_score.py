"""charlm score: tables, records, words, and what is refused."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from charlm.config import LEVELS
from tests.support.cli import bad, charlm, good, lines_of_json
from tests.support.texts import AWKWARD_TEXT


def test_score_is_a_table_that_ends_with_the_likeliest(here: Path) -> None:
    """Columns align, the unit stands in the header, every text is ranked."""
    texts = ["the bear eats the pear", "你好 😀", "", "xyzzy " * 30]
    assert "mind the OOV column" in good("score", "--closed", *texts).err
    result = good("score", *texts)
    assert "OOV column" not in result.err
    header, *rows = result.out.splitlines()
    assert "log P (nats)" in header
    column = header.index("text")
    assert [row[column:] for row in rows] == texts
    assert sorted(row.split()[0] for row in rows) == ["1", "2", "3", "4"]
    assert re.search(r"likeliest: \".*\", [\d,.e+]+ times as likely as the next\n$", result.both)


def test_equally_likely_texts_share_a_place(here: Path) -> None:
    """The same text twice has one rank, and neither is called likelier."""
    result = good("score", "the jay", "no", "the jay", "--json")
    places = [line["rank"] for line in lines_of_json(result.out)]
    assert places[0] == places[2]
    assert '"the jay" and "the jay", equally likely' in good("score", "the jay", "the jay").err


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("form", [[], ["--json"], ["--tsv"]])
def test_one_line_out_for_each_line_in(here: Path, level: str, form: list[str]) -> None:
    """Empty lines are scored, CRLF and CR are a line's end, too, a last line needs none."""
    data = b"the bear\r\n\r\n\n  \na\rb\r\r\nlast"
    result = good("score", *form, "--model", level, stdin=data)
    lines = result.out.removesuffix("\n").split("\n")
    assert len(lines) == 7 + (form != ["--json"])
    if form == ["--json"]:
        texts = [line["text"] for line in lines_of_json(result.out)]
        assert texts == ["the bear", "", "", "  ", "a", "b", "last"]
    assert good("score", *form, "--model", level, "-f", "-", stdin=data + b"\n") == result
    assert good("score", "-m", level, *form, stdin=b"").out == ""


@pytest.mark.parametrize("unit", ["nats", "bits", "log10"])
def test_units_are_in_the_names_and_the_numbers(here: Path, unit: str) -> None:
    """A log-probability is the same in every unit but for the factor."""
    factor = {"nats": 1.0, "bits": 0.6931471805599453, "log10": 2.302585092994046}[unit]
    (nats,) = lines_of_json(good("score", "the bear", "--json").out)
    (line,) = lines_of_json(good("score", "the bear", "--json", "--unit", unit, "--per-token").out)
    total = line[f"total_log_prob_{unit}"]
    assert total * factor == pytest.approx(nats["total_log_prob_nats"])
    assert line["per_token"][-1][f"running_total_{unit}"] == pytest.approx(total)
    assert line["per_token"][-1]["token"] == "<EOS>"
    assert sum(token["surprisal_bits"] for token in line["per_token"]) == pytest.approx(
        -nats["total_log_prob_nats"] / 0.6931471805599453
    )
    assert f"log P ({unit})" in good("score", "the bear", "--unit", unit).out
    assert f"log P ({unit})" in good("score", "the bear", "--unit", unit, "--per-token").out
    assert f"log_prob_{unit}" in good("score", "the", "--unit", unit, "--tsv").out
    per_token = good("score", "the", "the jay", "--unit", unit, "--tsv", "--per-token").out
    head, *rows = [row.split("\t") for row in per_token.splitlines()]
    assert f"running_total_{unit}" in head
    assert {len(row) for row in rows} == {len(head)}
    assert [row[0] for row in rows] == ["1"] * 4 + ["2"] * 8
    bad(2, "score", "x", "--unit", "dB")


def test_awkward_texts_are_exact_in_json_escaped_in_tsv_and_harmless_on_a_terminal(
    here: Path,
) -> None:
    """JSON gives a text back, TSV keeps it in its cell, and no terminal is driven by it."""
    texts = ["--", AWKWARD_TEXT, "lone \ufffd byte"]
    scored = lines_of_json(good("score", "--json", *texts).out)
    assert [line["text"] for line in scored] == texts[1:]
    head, *rows = good("score", "--tsv", *texts).out.removesuffix("\n").split("\n")
    assert [row.count("\t") for row in rows] == [head.count("\t")] * 2
    assert rows[0].endswith("\ta\\tb\\nc\\rd\\\\e\\x1b[31m\\x00\\x7f\\x9b2J\u202e ☃")
    assert rows[1].endswith("\tlone \ufffd byte")
    for form in ([], ["--per-token"], ["--tsv"]):
        shown = good("score", *form, *texts, terminal=True).both
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", shown)


def test_score_refuses_what_contradicts_itself(here: Path) -> None:
    """Two forms, or texts beside a file, are a usage error; a missing file is a bad text."""
    assert "not both" in bad(2, "score", "x", "--json", "--tsv")
    assert "not both" in bad(2, "score", "x", "--file", "y")
    assert "no file" in bad(3, "score", "--file", "nowhere.txt")
    assert "--errors replace" in bad(3, "score", stdin=b"a\xff")
    assert good("score", "--errors", "replace", stdin=b"a\xff").out
    assert "give a text" in bad(2, "score", terminal=True)


RECORDS = """\
{"n": 1.00, "text": "the bear"}

{"text": "a jay and a bear and a jay", "n": [1,  2]}
"""


def test_records_go_through_with_their_results(here: Path) -> None:
    """Fields, order and empty lines stay; the results are those of a text alone."""
    texts = ("the bear", "a jay and a bear and a jay")
    alone = lines_of_json(good("score", "--json", *texts).out)
    result = good("score", "--jsonl", "--per-token", stdin=RECORDS.encode())
    first, empty_line, second = result.out.splitlines()
    assert first.startswith('{"n": 1.00, "text": "the bear", "total_log_prob_nats": ')
    assert empty_line == ""
    assert second.startswith('{"text": "a jay and a bear and a jay", "n": [1,  2], "total')
    for line, expected in zip((first, second), alone, strict=True):
        (found,) = lines_of_json(line)
        for name in ("perplexity_per_token", "bits_per_character", "total_log_prob_nats"):
            assert found[name] == pytest.approx(expected[name], rel=1e-5)
        assert found["per_token"][-1]["token"] == "<EOS>"
    table = "id\ttext\nx\tthe bear\n\ny\ta jay and a bear and a jay"
    rows = good("score", "--column", "text", "--prefix", "lm_", stdin=table.encode()).out
    head, one, nothing, other = rows.splitlines()
    assert head.startswith("id\ttext\tlm_total_log_prob_nats\tlm_probability")
    assert nothing == ""
    for row, expected in zip((one, other), alone, strict=True):
        assert float(row.split("\t")[2]) == pytest.approx(expected["total_log_prob_nats"], rel=1e-5)


def test_texts_are_kept_by_what_they_are_like(here: Path) -> None:
    """Bounds keep lines as they are, --invert the others; both together are all, in order."""
    lines = ["the bear", "zqx☃", "", "a jay", "xxxxxxxx", "the pear"]
    data = "".join(f"{line}\n" for line in lines).encode()
    for name, key in (("perplexity", "perplexity_per_token"), ("bits", "bits_per_character")):
        scored = lines_of_json(good("score", "--json", "--model", "trained", stdin=data).out)
        bound = sorted(line[key] or 0 for line in scored)[3]
        options = ("--model", "trained", f"--max-{name}", repr(bound))
        kept = good("score", *options, stdin=data)
        expected = [s["text"] for s in scored if s[key] is None or s[key] <= bound]
        assert kept.out.splitlines() == expected
        assert f"kept {len(expected)} of 6 texts" in kept.err
        dropped = good("score", *options, "--invert", stdin=data).out.splitlines()
        assert dropped == [line for line in lines if line not in expected]
        in_json = lines_of_json(good("score", "--json", *options, stdin=data).out)
        assert [line["text"] for line in in_json] == expected
        least = good("score", "--model", "trained", f"--min-{name}", repr(bound), stdin=data)
        assert set(least.out.splitlines()) | set(expected) == set(lines)
    jsonl = RECORDS.encode()
    assert good("score", "--jsonl", "--max-perplexity", "1", stdin=jsonl).out == "\n"
    assert good("score", "--jsonl", "--max-perplexity", "1", "-v", stdin=jsonl).out.count("{") == 2


def test_broken_lines_are_told_and_dealt_with_as_asked(here: Path) -> None:
    """stop ends with what came before; keep lets them through as they were; drop leaves them."""
    data = b'{"text": "a"}\n{"text": \xff}\n{"other": 1}\n{"text": "b"}\n'
    stopped = charlm("score", "--jsonl", stdin=data)
    assert stopped.code == 3
    assert [line["text"] for line in lines_of_json(stopped.out)] == ["a"]
    assert "line 2" in stopped.err
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "charlm", "score", "--jsonl", "--on-error", "keep"]
    os.write(writer, data)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        done = subprocess.run(command, stdin=stream, capture_output=True, check=True)
    one, two, three, four = done.stdout.splitlines()
    assert (two, three) == (b'{"text": \xff}', b'{"other": 1}')
    assert b"perplexity" in one
    assert b"perplexity" in four
    assert b"broken lines, kept as they were: 2" in done.stderr
    dropped = good("score", "--jsonl", "--on-error", "drop", stdin=data)
    assert [line["text"] for line in lines_of_json(dropped.out)] == ["a", "b"]
    assert 'line 3 is broken: it has no field "text".' in dropped.err
    for form in (["--json"], ["--tsv"]):
        shown = good("score", *form, "--on-error", "keep", stdin=b"a\n\xff\nb\n").out
        assert len(shown.splitlines()) == 3 + (form == ["--tsv"])
    bad(2, "score", "--on-error", "ignore", stdin=b"")


def test_hypotheses_are_ranked_within_their_group(here: Path) -> None:
    """The total is the score and the weighted log P; groups stay in order, lines keep fields."""
    data = b"a\tthe bear\t-1\na\tzzzz\t-1\na\tthe jay\t5\nb\tzzzz\nb\tthe bear\n"
    table = good("score", "--nbest", "--weight", "0.5", "-m", "trained", stdin=data).out
    head, _, out = table.partition("\n")
    assert head.split("\t")[:3] == ["id", "text", "score"]
    assert head.split("\t")[-2:] == ["total_score", "rank_in_group"]
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows] == ["a"] * 3 + ["b"] * 2
    assert [row[-1] for row in rows] == ["1", "2", "3", "1", "2"]
    assert sorted(out.splitlines(), key=lambda line: line[0]) == out.splitlines()
    for row in rows:
        given = {("a", "the jay"): 5.0, ("b", "zzzz"): 0.0, ("b", "the bear"): 0.0}
        other = given.get((row[0], row[1]), -1.0)
        (alone,) = lines_of_json(good("score", "--json", "-m", "trained", row[1]).out)
        total = other + 0.5 * alone["total_log_prob_nats"]
        assert float(row[-2]) == pytest.approx(total, rel=1e-5)
    totals = [float(row[-2]) for row in rows]
    assert totals[:3] == sorted(totals[:3], reverse=True)
    lines = '{"id": 1, "text": "zzzz"}\n{"id": 1, "text": "the bear", "x": 0}\n'
    ranked = lines_of_json(
        good("score", "--nbest", "--jsonl", "-m", "trained", stdin=lines.encode()).out
    )
    assert [line["text"] for line in ranked] == ["the bear", "zzzz"]
    assert ranked[0]["x"] == 0
    assert [line["rank_in_group"] for line in ranked] == [1, 2]


@pytest.mark.parametrize("level", LEVELS)
def test_a_context_is_read_and_not_scored(here: Path, level: str) -> None:
    """Texts after one context are compared by what they add to it."""
    options = ("--json", "--model", level)
    whole, context = lines_of_json(
        good("score", *options, "--per-token", "the bear a jay", "the bear").out
    )
    (after,) = lines_of_json(good("score", *options, "--context", "the bear", " a jay").out)
    left = sum(token["log_prob_nats"] for token in context["per_token"][:-1])
    assert after["total_log_prob_nats"] == pytest.approx(
        whole["total_log_prob_nats"] - left, abs=1e-4
    )


@pytest.mark.parametrize("level", LEVELS)
def test_words_are_shown_with_their_surprisal(here: Path, level: str) -> None:
    """A row a word and one for the end; the sum is that of the text."""
    options = ("--model", level)
    (line,) = lines_of_json(good("score", "--words", "--json", *options, "the bear, a jay").out)
    assert [row["word"] for row in line["per_word"]] == ["the", "bear,", "a", "jay", "<EOS>"]
    assert line["per_word"][-1]["running_total_nats"] == pytest.approx(
        line["total_log_prob_nats"], abs=1e-4
    )
    shown = good("score", "--words", *options, "the bear, a jay").out.splitlines()
    assert [row.split()[-1] for row in shown[2:]] == ["the", "bear,", "a", "jay", "<EOS>"]
    assert max(map(len, shown)) <= 80
    table = good("score", "--words", "--tsv", *options, "the bear").out.splitlines()
    assert len(table) == 4


@pytest.mark.parametrize("level", LEVELS)
def test_a_text_is_coloured_by_surprisal(here: Path, tmp_path: Path, level: str) -> None:
    """Without colour a row of bars stands below it; the page holds every text and its figures."""
    page = tmp_path / "page.html"
    texts = ("the <u>bear</u>", "a jay ☃")
    options = ("--model", level, "--heatmap", "--html", str(page))
    shown = good("score", *options, *texts).out
    assert "\x1b" not in shown
    for text in texts:
        assert f"{text} <EOS>\n" in shown
    assert shown.splitlines()[0].startswith("bits  ▁ ")
    assert shown.count(" bits in total, ") == 2
    written = page.read_text()
    assert written.count("<section") == 2
    assert "<u>" not in written
    assert good("score", *options, "--words", *texts).out.count("<EOS>") >= 2
    data = "".join(f"{text}\n" for text in texts).encode()
    assert good("score", *options, stdin=data).out == shown
    coloured = good("score", "--html", str(page), "--model", level, *texts)
    assert coloured.out == good("score", "--model", level, *texts).out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--heatmap", "--json"],
        ["--html", "x.html", "--tsv"],
        ["--heatmap", "--jsonl"],
        ["--jsonl", "--column", "2"],
        ["--nbest", "--column", "2"],
        ["--jsonl", "--json"],
        ["--jsonl", "--tsv"],
        ["--nbest", "--per-token"],
        ["--per-token", "--words"],
        ["--invert"],
        ["--nbest", "--max-bits", "2"],
        ["--jsonl", "text"],
    ],
)
def test_score_refuses_forms_that_do_not_go_together(here: Path, arguments: list[str]) -> None:
    """Each pair is refused with a sentence that tells what to leave out or add."""
    assert re.search("[Ll]eave out|not both|give", bad(2, "score", *arguments))


def test_a_directory_can_be_scored(here: Path, tmp_path: Path) -> None:
    """Where a file is asked for, a directory stands for its files in order."""
    (tmp_path / "b.txt").write_text("jay")
    (tmp_path / "a.txt").write_text("bear\npear\n")
    scored = lines_of_json(good("score", "--json", "--file", str(tmp_path)).out)
    assert [line["text"] for line in scored] == ["bear", "pear", "jay"]


def test_a_dash_is_standard_input(here: Path) -> None:
    """As with every command that reads files: the text is not "-"."""
    piped = good("score", "-", "--json", stdin=b"an apple\n").out
    assert piped == good("score", "--file", "-", "--json", stdin=b"an apple\n").out
    assert '"text": "an apple"' in piped
