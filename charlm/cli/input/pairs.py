"""Rows of a table, or lines of JSON, that hold a source and its target."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.cli.input.filter import Bounds, Filter, Results
from charlm.cli.input.records import Columns, Form, JsonLines, Record
from charlm.cli.option_names import option_of
from charlm.cli.options import Decoding
from charlm.cli.output.terminal import say
from charlm.display.safe_text import safe_text
from charlm.errors import TextError, UsageError
from charlm.text.tables import Rows

if TYPE_CHECKING:
    from charlm.display.alignment_page import AlignmentPage
    from charlm.inference.pairs.score import PairScore
    from charlm.models.translator import Translator
    from charlm.text.pairs import Pair, PairPlaces
    from charlm.text.streaming import Line


class PairRows:
    """A form of lines that hold pairs; they go out as they came, the results in them."""

    def __init__(self, places: "PairPlaces", names: Sequence[str], *, csv: bool) -> None:
        from charlm.text.pairs import PairReader

        self._reader = PairReader(places, csv=csv)
        self._form: Form
        if places.is_field:
            self._form = JsonLines(places.target, names)
        else:
            table = self._reader.table
            self._form = Columns(places.target, names, header=places.header, table=table)

    def rows(self, lines: "Iterable[Line | None]") -> Rows:
        """The lines, or what is put together of several."""
        return self._form.rows(lines)

    def is_header(self, record: Record) -> bool:
        """Whether a record names the columns of the others."""
        return self._form.is_header(record)

    def text(self, line: str, number: int) -> str | None:
        """The target of a line. Raises ValueError if it is no pair."""
        pair = self._reader.pair(line)
        self._form.text(line, number)
        return None if pair is None else pair.target

    def pair(self, record: Record) -> "Pair":
        """Both sides of a record that holds a pair."""
        found = self._reader.pair(record.line)
        assert found is not None
        return found

    def written(self, record: Record, results: Mapping[str, Any]) -> str:
        """The line with the results."""
        return self._form.written(record, results)


class PairFilter(Filter):
    """Pairs on their way through a translator."""

    noun = "pairs"

    def __init__(self, loaded: "Translator", wanted: Results, bounds: Bounds) -> None:
        super().__init__(wanted, bounds)
        self._loaded = loaded
        self.unseen = Unseen(loaded)

    @property
    def work(self) -> "Callable[[list[Any]], list[PairScore]]":
        """What scores pairs."""
        return self._loaded.score_all

    def asked(self, records: list[Record], form: Form) -> "list[Pair]":
        """The pairs of records."""
        assert isinstance(form, PairRows)
        pairs = [form.pair(record) for record in records]
        for source, _ in pairs:
            self.unseen.add(source)
        return pairs

    def kept(self, pairs: Sequence[tuple[str, str]]) -> "list[PairScore]":
        """The scores of those pairs that are to be kept."""
        for source, _ in pairs:
            self.unseen.add(source)
        return [score for score in self.work(list(pairs)) if self._bounds.keep(score)]


def pairs_of(files: Sequence[str], places: "PairPlaces", decoding: Decoding) -> "list[Pair]":
    """All pairs of files; what was noticed is said. Raises TextError if there are none."""
    from charlm.text.pairs import read_pairs

    found, notes = read_pairs(files, places, **vars(decoding))
    for note in notes:
        say(note)
    if not found:
        raise TextError("there is no pair in what was given: it is empty or blank.")
    return found


def only_of_texts(**given: object) -> None:
    """Raise UsageError if something was given that means nothing of pairs."""
    for name, value in given.items():
        if value not in (None, False, ""):
            raise UsageError(
                f"{option_of(name)} is about texts, and a translator is about pairs, a source and "
                "its target: leave it out."
            )


def check_attention(loaded: "Translator") -> None:
    """Raise UsageError if there is none to be shown."""
    if loaded.config.attention == "none":
        raise UsageError(
            "this model has no attention (it was trained with `attention=none`), so it does not "
            "say where it looked."
        )


class Unseen:
    """What of sources training never saw, noted while they are read."""

    def __init__(self, loaded: "Translator") -> None:
        self._loaded = loaded
        self._symbols: set[str] = set()
        self._features: set[str] = set()

    def add(self, source: str) -> None:
        """Note what of a source is unknown."""
        self._symbols.update(self._loaded.unseen(source))
        self._features.update(self._loaded.unseen_features(source))

    def say(self) -> None:
        """Say what it was and what became of it, if there was anything."""
        for found, what in (
            (self._symbols, "symbols that training never saw, read as <UNK>"),
            (self._features, "features that training never saw, left out"),
        ):
            if found:
                say(f"{what}: {' '.join(map(safe_text, sorted(found)[:10]))}")


def source_of(loaded: "Translator", source: str, features: str | None) -> str:
    """A source as a line, with features that were given for it. Raises UsageError."""
    return source if features is None else loaded.line((source, features))


def alignment_page(path: Path, loaded: "Translator") -> "AlignmentPage":
    """A page for where a translator looked."""
    from charlm.display.alignment_page import AlignmentPage

    return AlignmentPage(path, model=f"{loaded.name} (step {loaded.checkpoint.step:,})")
