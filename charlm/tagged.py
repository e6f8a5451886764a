"""Tagged text: a token and its tag on a line, a blank line between sentences.

Columns stand between tabs or spaces; the first is the token, the last its tag (the form of the
CoNLL-2000, 2002 and 2003 shared tasks). Lines that begin with -DOCSTART- separate documents and
are kept as they are.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from charlm.errors import CharlmError, TextError

OUTSIDE = "O"
MOST_CHARACTERS = 1000  # of a tag
_DOCUMENT = "-DOCSTART-"
_NEVER = frozenset(("Cc", "Cs", "Zl", "Zp"))  # in a tag: control characters, ends of lines


class Sentence(NamedTuple):
    """Tokens and, if they were there, their tags; the number of the first line, from 1 on."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...] | None
    number: int = 0


def columns(line: str) -> list[str]:
    """The columns of a line: between tabs if it has any, else between spaces."""
    if "\t" in line:
        return [part.strip(" ") for part in line.strip(" \t").split("\t")]
    return line.split(" ") if "  " not in line else [part for part in line.split(" ") if part]


def is_break(line: str) -> bool:
    """Whether a line stands between sentences."""
    return not line.strip() or line.startswith(_DOCUMENT)


def is_tag(text: str) -> bool:
    """Whether a text can be a tag: on a line of its own output it may not begin another."""
    if not 0 < len(text) <= MOST_CHARACTERS:
        return False
    return text.isprintable() or not any(unicodedata.category(char) in _NEVER for char in text)


def sentences(lines: Iterable[tuple[int, str]], *, name: str, tagged: bool) -> Iterator[Sentence]:
    """The sentences of numbered lines. Raises TextError for a line without a tag, if tagged."""
    tokens: list[str] = []
    tags: list[str] = []
    first = 0
    for number, line in lines:
        if is_break(line):
            if tokens:
                yield Sentence(tuple(tokens), tuple(tags) if tagged else None, first)
                tokens, tags = [], []
            continue
        cells = columns(line.strip(" \r"))
        if tagged and (len(cells) < 2 or not cells[0] or not cells[-1]):
            raise TextError(
                f"{name}, line {number}: a line is a token and its tag with a tab or a space "
                f"between them, got {line[:40]!r}."
            )
        if tagged and cells[-1] != OUTSIDE and not is_tag(cells[-1]):
            raise TextError(
                f"{name}, line {number}: {cells[-1][:40]!r} cannot be a tag: it holds a control "
                f"character, or more than {MOST_CHARACTERS:,} characters."
            )
        first = first if tokens else number
        tokens.append(cells[0])
        tags.append(cells[-1])
    if tokens:
        yield Sentence(tuple(tokens), tuple(tags) if tagged else None, first)


class Span(NamedTuple):
    """A chunk: its kind, and its tokens [begin, end)."""

    kind: str
    begin: int
    end: int


def spans(tags: Sequence[str]) -> list[Span]:
    """The chunks of a sentence by the definition of conlleval, the shared tasks' own program.

    Tags are O, or a letter and a kind: B begins a chunk, I goes on with one, E ends one, S is one.
    An I or E of another kind than the tag before, or after O, begins one (IOB1, IOB2 and IOBES
    are all read aright). A tag without a letter and a hyphen is a chunk with its like.
    """
    found: list[Span] = []
    begin, kind, before = 0, "", OUTSIDE
    for at, tag in enumerate((*tags, OUTSIDE)):
        letter, _, its_kind = tag.partition("-") if tag[1:2] == "-" else ("I", "", tag)
        if tag == OUTSIDE:
            letter, its_kind = OUTSIDE, ""
        ends = before != OUTSIDE and (
            letter in (OUTSIDE, "B", "S", "[") or its_kind != kind or before in ("E", "S", "]")
        )
        if ends:
            found.append(Span(kind, begin, at))
        if letter != OUTSIDE and (ends or before == OUTSIDE):
            begin = at
        before, kind = letter, its_kind
    return found


def are_chunks(tags: Iterable[str]) -> bool:
    """Whether tags tell where chunks begin: O, B-X, I-X and the like."""
    return all(tag == OUTSIDE or tag[1:2] == "-" for tag in tags)


class SpanScore(NamedTuple):
    """How many chunks were meant, were found, and were both, with what follows from it."""

    precision: float
    recall: float
    f1: float
    meant: int
    found: int


def score_spans(
    meant: Sequence[Sequence[str]], found: Sequence[Sequence[str]]
) -> dict[str, SpanScore]:
    """Precision, recall and F1 of whole chunks, of each kind and (under "") of all.

    A chunk counts where its kind and both its ends are right. Counted by nervaluate ("strict"),
    from chunks as conlleval defines them. Raises CharlmError where that is not installed.
    """
    try:
        from nervaluate.evaluator import Evaluator
    except ImportError:
        raise CharlmError(
            "span F1 is counted by nervaluate, which is not installed: pip install nervaluate"
        ) from None
    true, pred = ([_as_dicts(tags) for tags in side] for side in (meant, found))
    kinds = sorted({str(one["label"]) for side in (true, pred) for text in side for one in text})
    if not kinds:
        return {"": SpanScore(0.0, 0.0, 0.0, 0, 0)}
    evaluator = Evaluator(true, pred, tags=kinds, loader="dict")
    strict = {"strict": evaluator.strategies["strict"]}
    evaluator.strategies = strict  # three more are there, for partial matches
    results = evaluator.evaluate()
    by_kind = {kind: results["entities"][kind]["strict"] for kind in kinds}
    scores = {"": results["overall"]["strict"], **by_kind}
    return {
        kind: SpanScore(r.precision, r.recall, r.f1, r.possible, r.actual)
        for kind, r in scores.items()
    }


def _as_dicts(tags: Sequence[str]) -> list[dict[str, str | int]]:
    return [{"label": s.kind, "start": s.begin, "end": s.end - 1} for s in spans(tags)]
