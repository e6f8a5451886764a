"""Laws of tagged text: how it is read, what a span is, and the commands on it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.errors import TextError, UsageError
from charlm.text.conll import Places, Span, Table, is_break, is_tag, score_spans, spans
from tests.support.cli import charlm, good

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data"
KINDS = ("PER", "LOC")


def read(
    text: str, token: str | None = None, tag: str | None = None, *, tagged: bool = True
) -> list[tuple[tuple[str, ...], tuple[str, ...] | None]]:
    """Tokens and tags of the sentences of a text."""
    table = Table(Places(token, tag), name="x", tagged=tagged)
    return [(s.tokens, s.tags) for s in table.sentences(enumerate(text.split("\n"), 1))]


def test_two_columns_or_more() -> None:
    """The first is the token and the last its tag, between tabs or spaces; blanks separate."""
    text = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects  VBZ  O\r\n\n \nNew York\tNNP\tB-LOC\n"
    assert read(text) == [(("EU", "rejects"), ("B-ORG", "O")), (("New York",), ("B-LOC",))]
    assert read("Ada\n\nx\n", tagged=False) == [(("Ada",), None), (("x",), None)]
    assert read(text, "2", "1") == [(("NNP", "VBZ"), ("EU", "rejects")), (("NNP",), ("New York",))]


@pytest.mark.parametrize(
    ("text", "are_columns"),
    [
        ("Ada NNP\nis VBZ\n. .\n", True),
        ("Ada X NNP\nis Y NN\n", True),
        ("Ada X\nis VBZ\nin Y\n", False),
        ("Ada is in Rome\n", False),
        ("Ada is in Rome .\n", False),
        ("Ada\tis\n", True),  # between tabs
        ("Ada\n", True),
    ],
)
def test_words_between_spaces_are_columns_if_the_last_are_tags(
    text: str, *, are_columns: bool
) -> None:
    """Where no tags are asked for, the first word of a line is a token if its last looks a tag."""
    for token in (None, "1"):
        table = Table(
            Places(token), name="x", tagged=False, known={"NNP", "VBZ", "."}, advice="Cut!"
        )
        lines = enumerate(text.split("\n"), 1)
        if are_columns or token:
            assert next(iter(table.sentences(lines))).tokens[0] == "Ada"
        else:
            with pytest.raises(TextError, match=r"x, line 1: a line is a token, got .*\. Cut!$"):
                list(table.sentences(lines))


@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "The road between\nMary went\n",
            "line 2: it has 2 columns, those before it 3: 'Mary went'",
        ),
        ("a\tO\n\nb\tX\tO\n", "line 3: it has 3 columns, those before it 2"),
        ("1\ta\tO\n2\tb\tO\n\n1\tc\tO\n", "line 1: its first column counts the tokens"),
    ],
)
def test_lines_have_as_many_columns_as_the_first(text: str, problem: str, *, tagged: bool) -> None:
    """A line with another number of columns is named, and one that is but a count is no token."""
    with pytest.raises(TextError, match=problem):
        read(text, tagged=tagged)


@pytest.mark.parametrize("tagged", [True, False])
def test_texts_of_several_words_are_no_tokens(*, tagged: bool) -> None:
    """A table of texts and labels is refused, unless its column is asked for; New York is not."""
    table = "text\tlabel\na dull film\tneg\nwhat joy it was\tpos\n"
    with pytest.raises(TextError, match=r"line 3: .* several words, 'what joy it was'"):
        read(table, tagged=tagged)
    tokens = ("text", "a dull film", "what joy it was")
    assert [one[0] for one in read(table, "1", tagged=tagged)] == [tokens]
    cities = read("New York\tCITY\n\na\tO\nvis à vis\tO\nb\tO\n", tagged=tagged)
    assert [one[0] for one in cities] == [("New York",), ("a", "vis à vis", "b")]


def test_numbered_tokens_are_read_by_column() -> None:
    """Where the first column counts, the others can be named by number."""
    text = "1\ta\tX\n2\tb\tO\n\n1\tc\tO\n"
    assert read(text, "2") == [(("a", "b"), ("X", "O")), (("c",), ("O",))]
    assert read(text, "1", "2")[0] == (("1", "2"), ("a", "b"))
    with pytest.raises(TextError, match="it has 3 columns, not 4"):
        read(text, "4")
    with pytest.raises(TextError, match="columns have names in CoNLL-U alone"):
        read(text, "form")
    for wrong in (("0", None), ("2", "2")):
        with pytest.raises(UsageError):
            Places(*wrong)


UNIVERSAL = """# newdoc
# text = Vámonos al mar #1
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\tVM\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\tPP\t_\t1\tobj\t_\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_
3\ta\ta\tADP\tSP\t_\t5\tcase\t_\t_
4\tel\tel\tDET\tDA\t_\t5\tdet\t_\t_
4.1\t_\t_\tVERB\tVM\t_\t_\t_\t0:root\t_
5\tmar\tmar\tNOUN\tNC\t_\t1\tobl\t_\tSpaceAfter=No

# a comment alone

1\t#\t#\tSYM\tF\t_\t0\troot\t_\t_
"""
FORMS = (("Vamos", "nos", "a", "el", "mar"), ("#",))


@pytest.mark.parametrize(
    ("token", "tag", "tags"),
    [
        (None, None, (("VERB", "PRON", "ADP", "DET", "NOUN"), ("SYM",))),
        (None, "xpos", (("VM", "PP", "SP", "DA", "NC"), ("F",))),
        ("FORM", "DepRel", (("root", "obj", "case", "det", "obl"), ("root",))),
        ("2", "5", (("VM", "PP", "SP", "DA", "NC"), ("F",))),
    ],
)
def test_conllu_has_its_columns(
    token: str | None, tag: str | None, tags: tuple[tuple[str, ...], ...]
) -> None:
    """Comments, ranges and empty nodes are no tokens; columns have names, form and upos first."""
    assert read(UNIVERSAL, token, tag) == list(zip(FORMS, tags, strict=True))
    untagged = read(UNIVERSAL, token, tag, tagged=False)
    assert untagged == [(forms, None) for forms in FORMS]
    lemmas = read(UNIVERSAL, "lemma")
    assert lemmas[0][0] == ("ir", "nosotros", "a", "el", "mar")


def test_conllu_is_checked_and_goes_out_as_it_came() -> None:
    """A wrong id, a short line and an unknown column are named; a tag goes into its column."""
    for old, new, problem in (
        ("5\tmar", "x\tmar", "line 10: an id is a number, a range or one such as 1.1, got 'x'"),
        ("\tSpaceAfter=No", "", "line 10: it has 9 columns, those before it 10"),
    ):
        with pytest.raises(TextError, match=problem):
            read(UNIVERSAL.replace(old, new))
    with pytest.raises(TextError, match=r"no column 'pos'\. There are id, form, lemma, upos"):
        read(UNIVERSAL, None, "pos")
    table = Table(Places(None, "xpos"), name="x", tagged=False)
    lines = UNIVERSAL.split("\n")
    (first, second) = table.sentences(enumerate(lines))
    assert (first.numbers, second.numbers) == ((3, 4, 6, 7, 9), (13,))
    assert table.written(lines[9], "N").split("\t") == [
        *("5", "mar", "mar", "NOUN", "N", "_", "1", "obl", "_", "SpaceAfter=No")
    ]


def test_conllu_plus_names_its_columns() -> None:
    """The comment global.columns says which they are."""
    text = "# global.columns = ID FORM NER UPOS\n1\tAda\tB-PER\tPROPN\n1.1\tx\t_\t_\n2\tis\tO\tV\n"
    assert read(text) == [(("Ada", "is"), ("PROPN", "V"))]
    assert read(text, None, "ner") == [(("Ada", "is"), ("B-PER", "O"))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# text = a b\na\tO\n#\tX\n#b\tO\n", [(("a", "#", "#b"), ("O", "X", "O"))]),
        ("#a\tO\n#b\tX\n\nc\tO\n", [(("#a", "#b"), ("O", "X")), (("c",), ("O",))]),
        ("# id 1\n\n# id\na\tO\n", [(("a",), ("O",))]),
        ("# text = a b\na O\n# X\n", [(("a", "#"), ("O", "X"))]),
    ],
)
def test_a_token_of_a_hash_is_no_comment(
    text: str, expected: list[tuple[tuple[str, ...], tuple[str, ...]]]
) -> None:
    """A line of # with the columns of the others is a token, any other such line a comment."""
    assert read(text) == expected
    bare = "\n".join(line.split("\t")[0] if "\t" in line else line for line in text.split("\n"))
    if "\t" in text:
        assert read(bare, tagged=False) == [(tokens, None) for tokens, _ in expected]


@pytest.mark.parametrize("line", ["Ada", "Ada\t", "\tO"])
def test_a_line_without_a_tag_is_named(line: str) -> None:
    """A tagged text has a token and a tag on every line."""
    with pytest.raises(TextError, match="x, line 2: a line is a token and its tag"):
        read(f"Bo\tO\n{line}\n")


@pytest.mark.parametrize("tag", ["B-\x1b[2J", "B-\rO", "B-\u2028", "x" * 1001])
def test_a_tag_cannot_begin_a_line(tag: str) -> None:
    """Tags go out as they came in, one per line: none may hold what ends a line, or controls."""
    with pytest.raises(TextError, match=r"x, line 2: '[Bx].*' cannot be a tag: "):
        read(f"Bo\tO\nAda\t{tag}\n")
    assert not is_tag(tag)
    assert not any(map(is_tag, ("", "a\tb", "a\nb", "\ud800", "\x85")))
    assert all(map(is_tag, ("O", "B-PER", "Ort \u200c", "名", "-", "x" * 1000)))
    assert read(f"Ada\t{tag}\n", tagged=False) == [(("Ada",), None)]


LINES = st.lists(
    st.one_of(
        st.sampled_from(["", " ", "\r", "-DOCSTART- -X-", "# a comment", "#", "#\tO"]),
        st.sampled_from(
            ["1\t" + "\tx" * 8, "1-2\tab" + "\t_" * 8, "1.1\ta" + "\t_" * 8, "a\tO", "b O"]
        ),
        st.text("a1#-. \t_\r", max_size=6),
    ),
    max_size=8,
)


@given(lines=LINES, tagged=st.booleans(), token=st.sampled_from([None, "1", "2", "form"]))
def test_every_line_is_a_token_or_stands_between(
    lines: list[str], token: str | None, *, tagged: bool
) -> None:
    """Whatever comes is refused by its line, or each line that is none aside has its token."""
    table = Table(Places(token), name="x", tagged=tagged)
    found, refused = [], ""
    try:
        found = list(table.sentences(enumerate(lines)))
    except TextError as error:
        refused = str(error)
    if refused:
        assert re.match(r"x, line \d: ", refused)
        return
    numbers = [number for sentence in found for number in sentence.numbers]
    assert numbers == sorted(set(numbers))
    for sentence in found:
        assert len(sentence.tokens) == len(sentence.numbers) > 0
        assert (sentence.tags is not None) == tagged
        for text, number in zip(sentence.tokens, sentence.numbers, strict=True):
            assert text
            assert text in lines[number]
            assert table.written(lines[number], "T").count("\t") == (9 if table.names else 1)
        assert not any(map(is_break, lines[sentence.numbers[0] : sentence.numbers[-1]]))
    for number in {*range(len(lines))} - {*numbers}:
        assert is_break(lines[number]) or re.match(r"\s*(#|\d+[-.]\d)", lines[number])


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a tagger of the bundled sentences and a classifier of two kinds."""
    folder = tmp_path_factory.mktemp("tag")
    (folder / "vowels.txt").write_text("aeio\neoia\nioea\nuaeo\noiae\nouia\n")
    (folder / "plain.txt").write_text("bcdf\nfdcb\ncdfg\ngfbd\nbdfg\nkmnb\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        sizes = ("--hidden", "24", "--embedding", "16", "--learning-rate", "0.01")
        entities = str(DATA / "entities.conll")
        ent = ("train", entities, "--tagger", "--name", "ent", "--epochs", "15")
        out = good(*ent, *sizes).out
        assert re.match(r"best validation F1 of spans: [01]\.\d{4}, accuracy 0\.9", out)
        kinds = ("train", "vowels.txt", "plain.txt", "--classifier", "--label-from", "file")
        good(*kinds, "--name", "kinds", "--steps", "6", *sizes)
    return folder


def test_tag_writes_a_line_for_each_line(here: Path) -> None:
    """Blank lines, comments and document marks stay where they were; other columns go."""
    text = "-DOCSTART- -X- O\n\nAda NNP O\nsleeps V O\n\n\nin\tP\tO\nMillford\tNNP\tO"
    code, out, _ = charlm("tag", "-", "-m", "ent", stdin=text.encode())
    assert code == 0
    lines = out.split("\n")
    assert [line.split("\t")[0] for line in lines] == [
        *("-DOCSTART- -X- O", "", "Ada", "sleeps", "", "", "in", "Millford", "")
    ]
    assert lines[7] == "Millford\tB-LOC"
    assert all(line.count("\t") == 1 for line in lines if line and not line.startswith("-DOC"))


def test_tags_do_not_depend_on_what_stands_around(here: Path) -> None:
    """A sentence alone, read by NumPy, gets the tags that it gets amid a thousand lines."""
    text = (DATA / "entities-held-out.conll").read_text(encoding="utf-8")
    whole = good("tag", "-m", "ent", stdin=text.encode()).out
    first = text.split("\n\n")[0]
    alone = good("tag", "-m", "ent", stdin=first.encode()).out
    assert whole.startswith(alone)
    again = good("tag", "-m", "ent", stdin=whole.encode()).out
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


def test_json_has_spans_and_log_probs(here: Path) -> None:
    """One object a sentence."""
    stdin = b"Ada\nRome\n\nx\n"
    out = good("tag", "--json", "-m", "ent", stdin=stdin).out
    found = [json.loads(line) for line in out.splitlines()]
    assert [one["tokens"] for one in found] == [["Ada", "Rome"], ["x"]]
    for one in found:
        assert len(one["tags"]) == len(one["log_probs_nats"]) == len(one["tokens"])
        assert max(one["log_probs_nats"]) <= 0
        assert one["spans"] == [span._asdict() for span in spans(one["tags"])]


def test_evaluate_says_what_is_right(here: Path) -> None:
    """Names that training never saw are mostly found; both forms tell the same figures."""
    held = str(DATA / "entities-held-out.conll")
    code, out, _ = charlm("tag", "--evaluate", held, "-m", "ent")
    assert code == 0
    told = good("tag", "--evaluate", held, "--json", "-m", "ent").out
    figures = json.loads(told)
    assert figures["sentences"] == 100
    assert figures["span_f1"] > 0.8
    assert f"token accuracy: {figures['token_accuracy']:.4f}" in out
    assert f"{figures['span_f1']:.4f}" in out
    assert set(figures["kinds"]) == {"PER", "LOC", "ORG"}


def test_plain_sentences_are_cut_on_request(here: Path) -> None:
    """--raw cuts lines as the word level does, a blank line behind each; else they are refused."""
    text = "Ada went to Millford, near Rome.\n\n(Bo's) 3 cats"
    stdin = text.encode()
    code, out, err = charlm("tag", "-m", "ent", stdin=stdin)
    assert (code, out) == (3, "")
    assert "line 1: a line is a token, got 'Ada went to Millford, near Rome.'. --raw cuts" in err
    code, out, _ = charlm("tag", "-m", "ent", "--raw", stdin=stdin)
    assert code == 0
    words = [line.split("\t")[0] for line in out.split("\n")]
    cut = ["Ada", "went", "to", "Millford", ",", "near", "Rome", ".", "", ""]
    assert words == [*cut, "(", "Bo's", ")", "3", "cats", "", ""]
    assert "Millford\tB-LOC" in out.splitlines()
    again = good("tag", "-m", "ent", stdin=out.encode()).out
    assert again == out
    told = good("tag", "-m", "ent", "--raw", "--json", stdin=stdin).out
    objects = [json.loads(line) for line in told.splitlines()]
    assert [one["tokens"] for one in objects] == [cut[:8], ["(", "Bo's", ")", "3", "cats"]]
    _, first, _ = charlm("tag", "-m", "ent", "--token-column", "1", stdin=b"Ada NN\nis VB")
    assert [line.split("\t")[0] for line in first.splitlines()] == ["Ada", "is"]


def test_conllu_from_training_to_figures(here: Path) -> None:
    """The column that was trained on is the one that is written and counted; others are refused."""
    one = "# text = Ada sees Bob\n1\tAda\t_\tPROPN\tNNP{0}\n2\tsees\t_\tVERB\tVBZ{0}\n"
    one += "3-4\tx\t_\t_\t_{0}\n3\tBob\t_\tPROPN\tNNP{0}\n\n"
    text = one.format("\t_\t0\tdep\t_\t_") * 12
    (here / "ud.conllu").write_text(text)
    sizes = ("--steps", "30", "--hidden", "8", "--embedding", "8", "--learning-rate", "0.02")
    code, _, err = charlm(
        *("train", "ud.conllu", "--tagger", "--tag-column", "xpos", "--name", "ud", *sizes),
    )
    assert code == 0, err
    assert "ud.conllu: CoNLL-U, tokens are its form, tags its xpos" in err
    assert "text: 36 tokens in 12 sentences, 2 tags" in err
    blank = text.replace("NNP", "_").replace("VBZ", "_")
    code, out, err = charlm("tag", "-m", "ud", stdin=blank.encode())
    assert (code, out) == (0, text)
    assert "CoNLL-U: tags go into its column xpos" in err
    code, out, _ = charlm("tag", "-m", "ud", "--evaluate", "ud.conllu")
    assert (code, out.splitlines()[1:]) == (0, ["tokens:         36", "token accuracy: 1.0000"])
    wrong = ("tag", "-m", "ud", "--evaluate", "ud.conllu", "--tag-column", "upos")
    code, out, err = charlm(*wrong)
    assert (code, out) == (3, "")
    assert "the tagger knows none of its tags (PROPN, VERB)" in err
    (here / "odd.conllu").write_text(text.replace("VBZ", "VBD"))
    odd = ("tag", "-m", "ud", "--evaluate", "odd.conllu")
    code, out, err = charlm(*odd)
    assert (code, out.splitlines()[2]) == (0, "token accuracy: 0.6667")
    assert "tags that the tagger does not know, and so cannot get right: VBD" in err
    go_on = ("train", "--resume", "--name", "ud", "--steps", "31")
    code, _, err = charlm(*go_on, "--tag-column", "upos")
    assert code == 2
    assert "--tag-column is xpos there, upos here" in err
    code, _, err = charlm(*go_on)
    assert code == 0, err


@pytest.mark.parametrize(
    ("code", "arguments", "said"),
    [
        (4, ["score", "x", "-m", "ent"], "is a tagger, no language model"),
        (4, ["sample", "-m", "kinds"], "is a classifier, no language model"),
        (4, ["score", "x"], "is a tagger (charlm tag). Train one first"),
        (4, ["tag", "x.conll", "-m", "kinds"], "is a classifier, not a tagger"),
        (3, ["tag", "absent.conll"], "there is no file absent.conll"),
        (3, ["tag", "--evaluate", "vowels.txt"], "line 1: a line is a token and its tag"),
        (2, ["train", "vowels.txt", "--classifier"], "--label-from"),
        (2, ["train", "vowels.txt", "--classifier", "--tagger"], "not both"),
        (2, ["train", "vowels.txt", "--pooling", "last"], "--classifier"),
        (2, ["train", "vowels.txt", "--tagger", "--ngram", "3"], "--ngram"),
        (2, ["train", "vowels.txt", "--tagger", "--tag-column", "0"], "columns count from 1"),
        (2, ["train", "vowels.txt", "--tag-column", "2"], "--tag-column goes with --tagger"),
        (2, ["tag", "vowels.txt", "--raw", "--evaluate"], "--raw and --evaluate"),
        (2, ["train", "--resume", "--name", "kinds", "--tag-column", "2"], "--tag-column is not"),
        (2, ["train", "--resume", "--name", "kinds", "--hidden", "9"], "--hidden is 24 there"),
        (2, ["train", "--resume", "--name", "kinds"], "is finished"),
        (3, ["train", "vowels.txt", "--classifier", "--label-from", "file"], "one label alone"),
        (3, ["train", "vowels.txt", "--tagger"], "a line is a token and its tag"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    here: Path, code: int, arguments: list[str], said: str
) -> None:
    """Each mistake has its exit code and says what was wrong."""
    ended, out, err = charlm(*arguments)
    assert (ended, out) == (code, "")
    assert err.splitlines()[-1].startswith("charlm: error: ")
    assert said in err


def test_list_and_info_know_heads(here: Path) -> None:
    """They stand among the runs and say what they are."""
    out = good("list").out
    assert re.search("^ent +tagger .* finished$", out, re.MULTILINE)
    assert re.search("^kinds +classifier .* finished$", out, re.MULTILINE)
    out = good("info", "-m", "kinds").out
    assert "2: plain, vowels" in out
    assert max(map(len, out.splitlines())) <= 80
    out = good("info", "--json", "-m", "ent").out
    assert json.loads(out)["kind"] == "tagger"


def test_a_run_goes_on(here: Path) -> None:
    """--resume knows by itself what kind of run it is, and refuses another text."""
    more = ("train", "--resume", "--name", "kinds", "--steps", "8")
    code, out, err = charlm(*more)
    assert code == 0, err
    assert "resuming at step 6 of 8" in err
    assert out.startswith("best validation accuracy: ")
    (here / "vowels.txt").write_text((here / "vowels.txt").read_text() + "aaaa\n")
    again = ("train", "--resume", "--name", "kinds", "--steps", "9")
    code, _, err = charlm(*again)
    assert code == 2
    assert "is not the one that" in err


def test_texts_that_are_not_read_to_their_end_are_counted(here: Path) -> None:
    """A classifier reads 1,000 tokens: train, classify and --labelled say how many have more."""
    long = "aeiou" * 200
    texts = [f"{long}b", f"{long}bb", long, "aeio"]
    (here / "long.txt").write_text("\n".join(texts) + "\n")
    (here / "long.tsv").write_text("".join(f"{text}\tvowels\n" for text in texts))
    (here / "more.tsv").write_text("".join(f"{text}\tplain\n" for text in texts[1:]))
    said = "of {} texts are longer than 1,000 tokens: only the first 1,000 of each are read"
    file = ("classify", "-m", "kinds", "--file", "long.txt")
    for form in ((), ("--tsv",), ("--json",)):
        code, out, err = charlm(*file, *form)
        assert (code, err.splitlines()[-1]) == (0, f"2 {said.format(4)}")
        assert len(out.splitlines()) == 4 + (form != ("--json",))
    objects = [json.loads(line) for line in out.splitlines()]
    assert objects[0]["probability"] == objects[1]["probability"]
    for rows in (("--column", "1"), ("--labelled", "column:2")):
        more = ("-m", "kinds", "--file", "long.tsv", *rows)
        _, _, err = charlm("classify", *more)
        assert f"2 {said.format(4)}" in err.splitlines()
    _, out, err = charlm("classify", "-m", "kinds", texts[0])
    assert "1 of 1 text is longer than 1,000 tokens" in err
    _, _, err = charlm("classify", "-m", "kinds", *texts[2:])
    assert "longer" not in err
    train = ("train", "long.tsv", "more.tsv", "--classifier", "--label-from", "column:2")
    sizes = ("--hidden", "4", "--embedding", "4", "--steps", "1", "--name", "long")
    code, _, err = charlm(*train, *sizes)
    assert code == 0
    assert "length: 3 of 7 different texts are longer than 1,000 tokens" in err


def test_classify_takes_classifiers(here: Path) -> None:
    """Trained classifiers and conditional models answer to the same command."""
    code, out, err = charlm("classify", "-m", "kinds", "--json", "aeio")
    assert code == 0, err
    found = json.loads(out)
    assert found["predicted"] == "vowels"
    assert sum(one["probability"] for one in found["predictions"]) == pytest.approx(1)
    files = ("--file", "vowels.txt", "--file", "plain.txt", "--labelled", "file")
    code, out, err = charlm("classify", "-m", "kinds", *files, "--json")
    assert code == 0, err
    assert json.loads(out)["accuracy"] == 1
    code, _, err = charlm("classify", "-m", "ent", "aeio")
    assert code == 4
    assert "is a tagger, no language model" in err
