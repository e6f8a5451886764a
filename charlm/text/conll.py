"""Tagged text: a token and its tag on a line, a blank line between sentences.

Columns stand between tabs or spaces; the first is the token, the last its tag (the form of the
CoNLL-2000, 2002 and 2003 shared tasks). Lines that begin with -DOCSTART- separate documents and
are kept as they are. In CoNLL-U (https://universaldependencies.org/format.html) ten columns between
tabs have names, form and upos among them; lines of # are comments, and a line whose id is a range
(1-2) or that of an empty node (1.1) is no token.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from charlm.errors import CharlmError, TextError, UsageError

OUTSIDE = "O"
MOST_CHARACTERS = 1000  # of a tag
_DOCUMENT = "-DOCSTART-"
_NEVER = frozenset(("Cc", "Cs", "Zl", "Zp"))  # in a tag: control characters, ends of lines
CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_ID = re.compile(r"\d+([-.]\d+)?")
_COLUMNS = "global.columns"  # the comment by which CoNLL-U Plus names its columns


class Sentence(NamedTuple):
    """Tokens and, if they were there, their tags; the number of each token's line, from 1 on."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...] | None
    numbers: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Places:
    """The columns of token and tag, by number from 1 on or by name, as CoNLL-U has them.

    None is the usual one: form and upos in CoNLL-U, or what ``usual`` says of both; else the first
    and the last.
    """

    token: str | None = None
    tag: str | None = None
    usual: tuple[str | None, str | None] = (None, None)

    def __post_init__(self) -> None:
        if "0" in (self.token, self.tag):
            raise UsageError("columns count from 1: there is no column 0.")
        if self.token is not None and self.token == self.tag:
            raise UsageError(f"token and tag cannot both be column {self.tag}.")


def columns(line: str) -> list[str]:
    """The columns of a line: between tabs if it has any, else between spaces."""
    if "\t" in line:
        return [part.strip(" ") for part in line.rstrip(" \t").split("\t")]
    return line.split(" ") if "  " not in line else [part for part in line.split(" ") if part]


def is_break(line: str) -> bool:
    """Whether a line stands between sentences."""
    return not line.strip() or line.startswith(_DOCUMENT)


def is_tag(text: str) -> bool:
    """Whether a text can be a tag: on a line of its own output it may not begin another."""
    if not 0 < len(text) <= MOST_CHARACTERS:
        return False
    return text.isprintable() or not any(unicodedata.category(char) in _NEVER for char in text)


class Table:
    """The lines of one file, what its columns are told from its first sentence.

    ``width`` is how many there are, None before a sentence has been read; ``names`` are those of
    CoNLL-U, else None; ``token`` and ``tag`` are places from 0 on. Where lines need not be tagged,
    several columns between spaces are taken for such if most of the last hold ``known`` tags; what
    to do with plain sentences is a sentence of whoever calls, ``advice``.
    """

    def __init__(
        self,
        places: Places = Places(),
        *,
        name: str,
        tagged: bool,
        known: Collection[str] | None = None,
        advice: str = "Plain sentences have no tags.",
    ) -> None:
        self._places, self._name, self._tagged, self._known = places, name, tagged, known
        self._advice = advice
        self._has_tabs = False
        self.width: int | None = None
        self.names: tuple[str, ...] | None = None
        self.token = self.tag = 0

    def sentences(self, lines: Iterable[tuple[int, str]]) -> Iterator[Sentence]:
        """The sentences of numbered lines, which may go on in another call with the next sentence.

        Raises TextError naming the first line that has not as many columns as those before it, and
        what else is no token or has no tag.
        """
        rows: list[tuple[int, str]] = []
        for number, line in lines:
            if not is_break(line):
                rows.append((number, line.strip(" \r")))
            elif rows:
                yield from self._sentence(rows)
                rows = []
        if rows:
            yield from self._sentence(rows)

    def written(self, line: str, tag: str) -> str:
        """The line of a token with its tag: in its column of CoNLL-U, else token, tab, tag."""
        if self.names is None:
            return f"{columns(line.strip(' '))[self.token]}\t{tag}"
        cells = line.split("\t")
        cells[self.tag] = tag
        return "\t".join(cells)

    def _sentence(self, rows: Sequence[tuple[int, str]]) -> Iterator[Sentence]:
        if self.width is None:
            self._look(rows)
        tokens: list[str] = []
        tags: list[str] = []
        numbers: list[int] = []
        for number, line in rows:
            if self._is_comment(line):
                continue
            cells = columns(line)
            self._check_width(number, line, cells)
            if self._is_aside(number, cells):
                continue
            token, tag = cells[self.token], cells[self.tag]
            if not token or (self._tagged and not tag):
                self._refuse(number, f"{_is_tagged(self._tagged)}, got {line[:40]!r}")
            if self._tagged and tag != OUTSIDE and not is_tag(tag):
                self._refuse(
                    number,
                    f"{tag[:40]!r} cannot be a tag: it holds a control character, or more than "
                    f"{MOST_CHARACTERS:,} characters",
                )
            tokens.append(token)
            tags.append(tag)
            numbers.append(number)
        if tokens:
            yield Sentence(tuple(tokens), tuple(tags) if self._tagged else None, tuple(numbers))

    def _look(self, rows: Sequence[tuple[int, str]]) -> None:
        """Find out what the columns are; not yet where there are but comments."""
        found = [row for row in rows if not row[1].startswith("#")]
        found = found or [row for row in rows if not self._is_comment(row[1])]
        if not found:
            return
        number, first = found[0]
        cells = columns(first)
        self._has_tabs = "\t" in first
        named = [line[1:].partition("=") for _, line in rows if _COLUMNS in line[:40]]
        plus = tuple(named[0][2].casefold().split()) if named else ()
        if self._has_tabs and len(plus) == len(cells):
            self.names = plus
        elif self._has_tabs and len(cells) == len(CONLLU) and _ID.fullmatch(cells[0]):
            self.names = CONLLU
        if self.names is None and self._places.token is None:
            self._check_first([(number, columns(line)) for number, line in found])
        usual: tuple[int | None, ...] = (0, len(cells) - 1)
        if self.names is not None:
            names = (self._places.usual[0] or "form", self._places.usual[1] or "upos")
            usual = tuple(self._named(name, len(cells)) for name in names)
        token = self._place(self._places.token, usual[0], number, cells, "token")
        tag = usual[1]
        if self._tagged or self.names is not None:
            tag = self._place(self._places.tag, usual[1], number, cells, "tag")
        if self._tagged and token == tag:
            self._refuse(number, f"{_is_tagged(True)}, got {first[:40]!r}")
        if self._has_tabs and self._places.token is None:
            self._check_tokens([(number, columns(line)) for number, line in found], token)
        self.token, self.tag, self.width = token, tag or 0, len(cells)

    def _check_tokens(self, rows: Sequence[tuple[int, list[str]]], place: int) -> None:
        """Raise TextError if a column between tabs holds texts of several words, not tokens."""
        cells = [(number, row[place]) for number, row in rows if len(row) > place]
        spaces = [cell.count(" ") for _, cell in cells]
        if max(spaces) > 1 and sum(spaces) >= len(cells):
            number, cell = cells[spaces.index(max(spaces))]
            self._refuse(
                number,
                f"{_is_tagged(self._tagged)}, got a text of several words, {cell[:40]!r}",
                "If those are tokens, give `token_column`.",
            )

    def _check_first(self, rows: Sequence[tuple[int, list[str]]]) -> None:
        """Raise TextError if the first column cannot be tokens, or if lines look like sentences."""
        number, cells = rows[0]
        if len(cells) == 1:
            return
        if len(rows) > 1 and [row[0] for _, row in rows] == [*map(str, range(1, len(rows) + 1))]:
            self._refuse(number, "its first column counts the tokens: say which column has them")
        if self._tagged or self._has_tabs or self._known is None:
            return
        # A full stop is a tag of some, and the last word of many a sentence.
        last = [row[-1] for _, row in rows if any(map(str.isalnum, row[-1]))]
        if not last or 2 * sum(cell in self._known for cell in last) < len(last):
            self._refuse(
                number,
                f"{_is_tagged(False)}, got {' '.join(cells)[:40]!r}",
                self._advice,
            )

    def _place(
        self, wanted: str | None, usual: int | None, number: int, cells: Sequence[str], what: str
    ) -> int:
        """The place of a column that is asked for, or else of the usual one."""
        if wanted is None and usual is not None:
            return usual
        place = None if wanted is None else self._named(wanted, len(cells))
        if place is None:
            there = ", ".join(self.names or ())
            why = f"there is no column {wanted!r:.40}. There are {there:.200}"
            if wanted is None:
                why = f"which of its columns has the {what}s is not known: name it"
            elif _is_number(wanted):
                why = f"it has {len(cells)} columns, not {wanted}"
            elif self.names is None:
                why = f"columns have names in CoNLL-U alone, and this is none: no {wanted!r:.40}"
            self._refuse(number, why)
        return place

    def _named(self, column: str, width: int) -> int | None:
        """The place of a column by its number or name, None if it is not there."""
        if _is_number(column):
            return int(column) - 1 if int(column) <= width else None
        names = self.names or ()
        return names.index(column.casefold()) if column.casefold() in names else None

    def _is_comment(self, line: str) -> bool:
        """Whether a line of # is a comment and not such a token."""
        if not line.startswith("#"):
            return False
        if self.names is not None and "id" in self.names:
            return True
        cells = columns(line)
        if self.width is None:
            return "\t" not in line and len(cells) > 1
        return len(cells) != self.width or (self.width > 1 and self._has_tabs and "\t" not in line)

    def _is_aside(self, number: int, cells: Sequence[str]) -> bool:
        """Whether a line is a range of words or an empty node rather than a token."""
        if self.names is None or "id" not in self.names:
            return False
        name = cells[self.names.index("id")]
        found = _ID.fullmatch(name)
        if found is None:
            self._refuse(
                number, f"an id is a number, a range or one such as 1.1, got {name[:40]!r}"
            )
        return found[1] is not None

    def _check_width(self, number: int, line: str, cells: Sequence[str]) -> None:
        if len(cells) == self.width:
            return
        if self._tagged and len(cells) == 1:
            self._refuse(number, f"{_is_tagged(True)}, got {line[:40]!r}")
        there = f"it has {len(cells)} columns, those before it {self.width}"
        self._refuse(number, f"{there}: {line[:40]!r}", self._advice)

    def _refuse(self, number: int, what: str, advice: str = "") -> NoReturn:
        raise TextError(f"{self._name}, line {number}: {what}. {advice}".rstrip())


def _is_number(column: str) -> bool:
    return column.isascii() and column.isdigit()


def _is_tagged(tagged: bool) -> str:
    if tagged:
        return "a line is a token and its tag with a tab or a space between them"
    return "a line is a token"


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


def read_tagged(
    paths: Iterable[str | Path],
    places: Places,
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
) -> tuple[list[Sentence], tuple[str, ...]]:
    """Sentences with their tags, and what was noticed. Raises TextError."""
    from charlm.text.corpus import read_documents  # which needs numpy

    found: list[Sentence] = []
    notes: list[str] = []
    for document in read_documents(paths, encoding=encoding, errors=errors):
        notes += document.notes
        table = Table(places, name=document.name, tagged=True)
        found += table.sentences(enumerate(document.text.split("\n"), 1))
        if table.names is not None:
            token, tag = table.names[table.token], table.names[table.tag]
            notes.append(f"{document.name}: CoNLL-U, tokens are its {token}, tags its {tag}")
    if not found:
        raise TextError("there is no sentence: what was given is empty or blank.")
    return found, tuple(notes)
