"""Laws of tagged text: how it is read, what a span is, and the commands on it."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.errors import TextError
from charlm.tagged import Span, is_tag, score_spans, sentences, spans

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data"
KINDS = ("PER", "LOC")


def read(text: str, *, tagged: bool = True) -> list[tuple[tuple[str, ...], tuple[str, ...] | None]]:
    """Tokens and tags of the sentences of a text."""
    lines = enumerate(text.split("\n"), 1)
    return [(s.tokens, s.tags) for s in sentences(lines, name="x", tagged=tagged)]


def test_two_columns_or_more() -> None:
    """The first is the token and the last its tag, between tabs or spaces; blanks separate."""
    text = "-DOCSTART- -X- O O\n\nEU NNP I-NP B-ORG\nrejects\tO\r\n\n \nNew York\tB-LOC\n"
    assert read(text) == [(("EU", "rejects"), ("B-ORG", "O")), (("New York",), ("B-LOC",))]
    assert read("Ada\n\nx y\n", tagged=False) == [(("Ada",), None), (("x",), None)]


@pytest.mark.parametrize("line", ["Ada", "Ada\t", "\tO"])
def test_a_line_without_a_tag_is_named(line: str) -> None:
    """A tagged text has a token and a tag on every line."""
    with pytest.raises(TextError, match="x, line 2: a line is a token and its tag"):
        read(f"Bo\tO\n{line}\n")


@pytest.mark.parametrize("tag", ["B-\x1b[2J", "B-\rO", "B-\u2028", "x" * 1001])
def test_a_tag_cannot_begin_a_line(tag: str) -> None:
    """Tags go out as they came in, one a line: none may hold what ends a line, or controls."""
    with pytest.raises(TextError, match=r"x, line 2: '[Bx].*' cannot be a tag: "):
        read(f"Bo\tO\nAda\t{tag}\n")
    assert not is_tag(tag)
    assert not any(map(is_tag, ("", "a\tb", "a\nb", "\ud800", "\x85")))
    assert all(map(is_tag, ("O", "B-PER", "Ort \u200c", "名", "-", "x" * 1000)))
    assert read(f"Ada\t{tag}\n", tagged=False) == [(("Ada",), None)]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-PER I-PER O B-LOC", [Span("PER", 0, 2), Span("LOC", 3, 4)]),  # IOB2
        ("I-PER I-PER O I-LOC", [Span("PER", 0, 2), Span("LOC", 3, 4)]),  # IOB1
        ("I-PER B-PER I-PER", [Span("PER", 0, 1), Span("PER", 1, 3)]),
        ("B-PER I-LOC", [Span("PER", 0, 1), Span("LOC", 1, 2)]),  # a kind begins without B
        ("S-PER B-LOC E-LOC S-LOC", [Span("PER", 0, 1), Span("LOC", 1, 3), Span("LOC", 3, 4)]),
        ("B-PER E-PER I-PER", [Span("PER", 0, 2), Span("PER", 2, 3)]),
        ("O O", []),
        ("B-X-Y I-X-Y", [Span("X-Y", 0, 2)]),
    ],
)
def test_spans_are_those_of_conlleval(tags: str, expected: list[Span]) -> None:
    """Where a chunk begins and ends, by the rules of the shared tasks' own program."""
    assert spans(tags.split()) == expected


@st.composite
def disjoint(draw: st.DrawFn, length: int = 12) -> list[Span]:
    """Spans that do not overlap, in order."""
    found, at = [], 0
    while at < length:
        if draw(st.booleans()):
            end = draw(st.integers(at + 1, length))
            found.append(Span(draw(st.sampled_from(KINDS)), at, end))
            at = end
        else:
            at += 1
    return found


def written(chunks: list[Span], form: str, length: int = 12) -> list[str]:
    """The tags of spans in IOB2 or in IOBES."""
    tags = ["O"] * length
    for kind, begin, end in chunks:
        tags[begin:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - begin - 1)
        if form == "IOBES":
            tags[end - 1] = f"E-{kind}" if end - begin > 1 else f"S-{kind}"
    return tags


@given(disjoint(), st.sampled_from(["IOB2", "IOBES"]))
def test_spans_come_back(chunks: list[Span], form: str) -> None:
    """What is written in either form is read as it was meant."""
    assert spans(written(chunks, form)) == chunks


@given(st.lists(st.tuples(disjoint(), disjoint()), min_size=1, max_size=4))
def test_f1_counts_whole_spans(pairs: list[tuple[list[Span], list[Span]]]) -> None:
    """The library's figures are 2 |meant and found| / (|meant| + |found|), of all and of a kind."""
    scores = score_spans(
        [written(meant, "IOB2") for meant, _ in pairs],
        [written(found, "IOBES") for _, found in pairs],
    )
    for kind in ("", *KINDS):
        meant, found = (
            {(n, s) for n, pair in enumerate(pairs) for s in pair[side] if kind in ("", s.kind)}
            for side in (0, 1)
        )
        if not meant and not found:
            assert kind not in scores or scores[kind].f1 == 0
            continue
        score, right = scores[kind], len(meant & found)
        assert (score.meant, score.found) == (len(meant), len(found))
        assert score.f1 == pytest.approx(2 * right / (len(meant) + len(found)))
        assert score.precision == pytest.approx(right / max(1, len(found)))
        assert score.recall == pytest.approx(right / max(1, len(meant)))


def test_f1_by_hand() -> None:
    """Three spans meant, three found, one right to its ends and kind: 1/3 everywhere."""
    meant = [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC", "O"]]
    found = [["B-PER", "O", "O", "B-LOC"], ["B-PER", "O"]]
    overall = score_spans(meant, found)[""]
    assert overall.f1 == pytest.approx(1 / 3)
    assert (overall.meant, overall.found) == (3, 3)


def test_the_bundled_sentences_are_what_their_program_writes(tmp_path: Path) -> None:
    """data/entities.py is where the two files come from, and no held-out name is in training."""
    subprocess.run([sys.executable, DATA / "entities.py", tmp_path], check=True, timeout=60)
    names = []
    for name in ("entities.conll", "entities-held-out.conll"):
        text = (DATA / name).read_text(encoding="utf-8")
        assert text == (tmp_path / name).read_text(encoding="utf-8")
        found = read(text)
        pairs = (pair for tokens, tags in found for pair in zip(tokens, tags or (), strict=True))
        names.append({token for token, tag in pairs if tag in ("B-PER", "I-PER", "B-LOC")})
    assert len(names[1]) > 50
    assert not names[0] & names[1]


# The commands


def charlm(
    *arguments: str, monkeypatch: pytest.MonkeyPatch, stdin: bytes = b""
) -> tuple[int, str, str]:
    """Run the command line here: exit code, stdout, stderr."""
    from charlm import cli

    out, err = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "argv", ["charlm", *arguments])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
    streams = [io.TextIOWrapper(stream, encoding="utf-8") for stream in (out, err)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code, out.getvalue().decode(), err.getvalue().decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a tagger of the bundled sentences and a classifier of two kinds."""
    folder = tmp_path_factory.mktemp("tag")
    (folder / "vowels.txt").write_text("aeio\neoia\nioea\nuaeo\noiae\nouia\n")
    (folder / "plain.txt").write_text("bcdf\nfdcb\ncdfg\ngfbd\nbdfg\nkmnb\n")
    before = os.getcwd()
    patch = pytest.MonkeyPatch()
    try:
        os.chdir(folder)
        sizes = ("--hidden", "24", "--embedding", "16", "--learning-rate", "0.01")
        entities = str(DATA / "entities.conll")
        code, out, err = charlm(
            *("train", entities, "--tagger", "--name", "ent", "--epochs", "15", *sizes),
            monkeypatch=patch,
        )
        assert code == 0, err
        assert re.match(r"best validation F1 of spans: [01]\.\d{4}, accuracy 0\.9", out)
        code, out, err = charlm(
            *("train", "vowels.txt", "plain.txt", "--classifier", "--label-from", "file"),
            *("--name", "kinds", "--steps", "6", *sizes),
            monkeypatch=patch,
        )
        assert code == 0, err
    finally:
        patch.undo()
        os.chdir(before)
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, to work in."""
    monkeypatch.chdir(folder)
    return folder


def test_tag_writes_a_line_for_each_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blank lines and document marks stay where they were; other columns go."""
    text = "-DOCSTART- -X- O\n\nAda NNP x\nsleeps\n\n\nin\tO\nMillford\tO"
    code, out, _ = charlm("tag", "-", "-m", "ent", monkeypatch=monkeypatch, stdin=text.encode())
    assert code == 0
    lines = out.split("\n")
    assert [line.split("\t")[0] for line in lines] == [
        *("-DOCSTART- -X- O", "", "Ada", "sleeps", "", "", "in", "Millford", "")
    ]
    assert lines[7] == "Millford\tB-LOC"
    assert all(line.count("\t") == 1 for line in lines if line and not line.startswith("-DOC"))


def test_tags_do_not_depend_on_what_stands_around(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sentence alone, read by NumPy, gets the tags that it gets amid a thousand lines."""
    text = (DATA / "entities-held-out.conll").read_text(encoding="utf-8")
    _, whole, _ = charlm("tag", "-m", "ent", monkeypatch=monkeypatch, stdin=text.encode())
    first = text.split("\n\n")[0]
    _, alone, _ = charlm("tag", "-m", "ent", monkeypatch=monkeypatch, stdin=first.encode())
    assert whole.startswith(alone)
    _, again, _ = charlm("tag", "-m", "ent", monkeypatch=monkeypatch, stdin=whole.encode())
    assert again == whole


def test_small_jobs_need_no_torch(here: Path) -> None:
    """A few sentences are tagged before torch could be imported."""
    code = """if True:
        import io, sys
        from charlm.cli import main
        sys.argv = ["charlm", "tag", "-m", "ent"]
        sys.stdin = io.TextIOWrapper(io.BytesIO(b"Ada\\nsleeps\\n"))
        try:
            main()
        except SystemExit:
            pass
        assert "numpy" in sys.modules and "torch" not in sys.modules
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=here, env=environment, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"Ada\t")


def test_json_has_spans_and_log_probs(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One object a sentence."""
    stdin = b"Ada\nRome\n\nx\n"
    _, out, _ = charlm("tag", "--json", "-m", "ent", monkeypatch=monkeypatch, stdin=stdin)
    found = [json.loads(line) for line in out.splitlines()]
    assert [one["tokens"] for one in found] == [["Ada", "Rome"], ["x"]]
    for one in found:
        assert len(one["tags"]) == len(one["log_probs_nats"]) == len(one["tokens"])
        assert max(one["log_probs_nats"]) <= 0
        assert one["spans"] == [span._asdict() for span in spans(one["tags"])]


def test_evaluate_says_what_is_right(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that training never saw are mostly found; both forms tell the same figures."""
    held = str(DATA / "entities-held-out.conll")
    code, out, _ = charlm("tag", "--evaluate", held, "-m", "ent", monkeypatch=monkeypatch)
    assert code == 0
    _, told, _ = charlm("tag", "--evaluate", held, "--json", "-m", "ent", monkeypatch=monkeypatch)
    figures = json.loads(told)
    assert figures["sentences"] == 100
    assert figures["span_f1"] > 0.8
    assert f"token accuracy: {figures['token_accuracy']:.4f}" in out
    assert f"{figures['span_f1']:.4f}" in out
    assert set(figures["kinds"]) == {"PER", "LOC", "ORG"}


@pytest.mark.parametrize(
    ("code", "arguments", "said"),
    [
        (4, ["score", "x", "-m", "ent"], "is a tagger, no language model"),
        (4, ["sample", "-m", "kinds"], "is a classifier, no language model"),
        (4, ["score", "x"], "there is no model below"),
        (4, ["tag", "x.conll", "-m", "kinds"], "is a classifier, not a tagger"),
        (3, ["tag", "absent.conll"], "there is no file absent.conll"),
        (3, ["tag", "--evaluate", "vowels.txt"], "line 1: a line is a token and its tag"),
        (2, ["train", "vowels.txt", "--classifier"], "--label-from"),
        (2, ["train", "vowels.txt", "--classifier", "--tagger"], "not both"),
        (2, ["train", "vowels.txt", "--pooling", "last"], "--classifier"),
        (2, ["train", "vowels.txt", "--tagger", "--ngram", "3"], "--ngram"),
        (2, ["train", "--resume", "--name", "kinds", "--hidden", "9"], "--hidden is 24 there"),
        (2, ["train", "--resume", "--name", "kinds"], "is finished"),
        (3, ["train", "vowels.txt", "--classifier", "--label-from", "file"], "one label alone"),
        (3, ["train", "vowels.txt", "--tagger"], "a line is a token and its tag"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    here: Path, monkeypatch: pytest.MonkeyPatch, code: int, arguments: list[str], said: str
) -> None:
    """Each mistake has its exit code and says what was wrong."""
    ended, out, err = charlm(*arguments, monkeypatch=monkeypatch)
    assert (ended, out) == (code, "")
    assert err.splitlines()[-1].startswith("charlm: error: ")
    assert said in err


def test_list_and_info_know_heads(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They stand among the runs and say what they are."""
    _, out, _ = charlm("list", monkeypatch=monkeypatch)
    assert "finished, a tagger" in out
    assert "finished, a classifier" in out
    _, out, _ = charlm("info", "-m", "kinds", monkeypatch=monkeypatch)
    assert "2: plain, vowels" in out
    assert max(map(len, out.splitlines())) <= 80
    _, out, _ = charlm("info", "--json", "-m", "ent", monkeypatch=monkeypatch)
    assert json.loads(out)["kind"] == "tagger"


def test_a_run_goes_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--resume knows by itself what kind of run it is, and refuses another text."""
    more = ("train", "--resume", "--name", "kinds", "--steps", "8")
    code, out, err = charlm(*more, monkeypatch=monkeypatch)
    assert code == 0, err
    assert "going on from step 6 of 8" in err
    assert out.startswith("best validation accuracy: ")
    (here / "vowels.txt").write_text((here / "vowels.txt").read_text() + "aaaa\n")
    again = ("train", "--resume", "--name", "kinds", "--steps", "9")
    code, _, err = charlm(*again, monkeypatch=monkeypatch)
    assert code == 2
    assert "is not the one that" in err


def test_classify_takes_classifiers(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained classifiers and conditional models answer to the same command."""
    code, out, err = charlm("classify", "-m", "kinds", "--json", "aeio", monkeypatch=monkeypatch)
    assert code == 0, err
    found = json.loads(out)
    assert found["predicted"] == "vowels"
    assert sum(one["probability"] for one in found["predictions"]) == pytest.approx(1)
    files = ("--file", "vowels.txt", "--file", "plain.txt", "--labelled", "file")
    code, out, err = charlm("classify", "-m", "kinds", *files, "--json", monkeypatch=monkeypatch)
    assert code == 0, err
    assert json.loads(out)["accuracy"] == 1
    code, _, err = charlm("classify", "-m", "ent", "aeio", monkeypatch=monkeypatch)
    assert code == 4
    assert "is a tagger, no language model" in err
