"""charlm translate."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from charlm.cli import options
from charlm.cli.input.beginning import dash_is_piped, piped, texts_of
from charlm.cli.input.declared import Options, option
from charlm.cli.input.model import translator
from charlm.cli.input.option_rules import Apart, OneOf, Rules
from charlm.cli.input.pairs import Unseen, alignment_page, check_attention, source_of
from charlm.cli.output import translations
from charlm.cli.output.meter import through
from charlm.cli.output.terminal import out, out_json
from charlm.errors import TextError
from charlm.fields.pairs import target_fields

if TYPE_CHECKING:
    from charlm.display.alignment_page import AlignmentPage
    from charlm.models.translator import Translation, Translator
    from charlm.text.streaming import Line

_AT_ONCE = 1024  # lines of a file

RULES: Rules = (
    *options.TEXT_OR_FILE,
    OneOf("--json", "--tsv"),
    OneOf("--beam", "--greedy"),
    options.PARTNERS,
    Apart(("--attention", "--html"), ("--json", "--tsv"), "it is for people"),
)


class Printed(Options, heading=options.OUTPUT):
    """The form of targets."""

    attention: bool = option("Show where the decoder looked at each token.", False)
    html: Path | None = option("Write where it looked to this HTML page.")
    json: bool = options.JSON
    tsv: bool = options.TSV


def translate_cli(
    *,
    texts: list[str] | None = typer.Argument(
        None, help="Sources to write targets for.", show_default=False
    ),
    search: options.Search,
    n_best: int = option(
        "Number of targets to print per source.", 1, heading=options.OUTPUT, least=1
    ),
    copy: bool = option(
        "Put in the token of the source that was looked at where the target's is unknown.",
        False,
        heading=options.SEARCH,
    ),
    features: str | None = options.FEATURES,
    file: str | None = options.file("Read a source from each line; - is standard input."),
    decoding: options.Decoding,
    asked: options.PairsModel,
    printed: Printed,
) -> None:
    """Write the likeliest target for each source.

    The model is a translator (charlm train --pairs). Given targets are scored by charlm score.

    \b
    charlm translate --model numbers "42" "1,337"
    charlm translate --model numbers "42" --n-best 3
    charlm translate --model numbers "42" --attention
    charlm translate --model numbers "42" "1,337" --html page.html
    charlm translate --model numbers --file numbers.txt --tsv
    charlm translate --model forms walk sing --features "V;PST"
    """
    texts, file = dash_is_piped(texts, file)
    if not texts:
        file = file or piped('a source: charlm translate "a text"')
    loaded = translator(asked)
    if printed.attention or printed.html is not None:
        check_attention(loaded)
    with contextlib.ExitStack() as stack:
        page = None
        if printed.html is not None:
            page = stack.enter_context(alignment_page(printed.html, loaded))
        writer = _Writer(loaded, features, search, n_best, copy, printed, page)
        if file is None:
            writer.write(texts or [])
        else:
            through(file, _portions(texts_of(file, "line", decoding)), writer.write_lines)
    writer.unseen.say()


def _portions(lines: "Iterable[Line | None]") -> "Iterator[list[Line]]":
    """Lines in portions; none waits for one that is yet to come. Raises TextError at a broken one.

    What was read before it is dealt with first.
    """
    portion: list[Line] = []
    for line in lines:
        problem = None if line is None else line.problem
        if line is not None and problem is None:
            portion.append(line)
        if portion and (line is None or problem is not None or len(portion) == _AT_ONCE):
            yield portion
            portion = []
        if problem is not None:
            raise TextError(problem)
    if portion:
        yield portion


class _Writer:
    """Writes targets for sources, and shows where the decoder looked, if that was asked."""

    def __init__(
        self,
        loaded: "Translator",
        features: str | None,
        search: options.Search,
        n_best: int,
        copy: bool,
        printed: Printed,
        page: "AlignmentPage | None",
    ) -> None:
        self._loaded, self._printed, self._page = loaded, printed, page
        self._features = features
        self._search: dict[str, Any] = {
            "beam": 1 if search.greedy else max(search.beam, n_best),
            "n_best": n_best,
            "max_tokens": search.max_tokens,
            "length_penalty": search.length_penalty,
            "copy": copy,
        }
        self.unseen = Unseen(loaded)

    def write_lines(self, lines: "Sequence[Line]") -> None:
        """Write the targets of lines."""
        self.write([line.text for line in lines])

    def write(self, sources: Sequence[str]) -> None:
        """Write the targets of sources."""
        printed, loaded = self._printed, self._loaded
        lines = [source_of(loaded, source, self._features) for source in sources]
        for source, several in zip(lines, loaded.translate_all(lines, **self._search), strict=True):
            self.unseen.add(source)
            parts = loaded.parts(source)
            if printed.json:
                out_json(target_fields(parts, several))
            elif printed.tsv:
                out("".join(f"{line}\n" for line in translations.rows(parts, several)))
            else:
                out("".join(f"{one.text}\n" for one in several))
            if printed.attention or self._page is not None:
                self._show(source, several)

    def _show(self, source: str, several: "Sequence[Translation]") -> None:
        for score in self._loaded.score_all((source, one.text) for one in several):
            if self._printed.attention:
                out("".join(f"{line}\n" for line in translations.map_of(score)))
            if self._page is not None:
                self._page.add(score)
