"""charlm tag."""

from typing import TYPE_CHECKING

import typer

from charlm.cli import options
from charlm.cli.input.beginning import piped, texts_of
from charlm.cli.input.declared import option
from charlm.cli.input.model import say_newest
from charlm.cli.input.option_rules import Apart, Rules
from charlm.cli.output.meter import Meter, through
from charlm.cli.output.reports import tags
from charlm.cli.output.terminal import out, out_json, say, say_loading
from charlm.display.safe_text import safe_text
from charlm.errors import TextError
from charlm.inference.tag_scores import TagScores
from charlm.text.conll import Places, Sentence, Table
from charlm.text.files import name_of
from charlm.text.sentences import numbered, portions, together

if TYPE_CHECKING:
    from collections.abc import Iterable

    from charlm.models.heads import Tagger

_ADVICE = (
    "--raw cuts plain sentences into words; --token-column says which of several columns to take."
)
RULES: Rules = (
    Apart("--raw", ("--evaluate", "--token-column", "--tag-column"), "raw text has no columns"),
)


def tag_cli(
    *,
    file: str | None = typer.Argument(
        None,
        help="One token per line, a blank line after each sentence; - is standard input.",
        show_default=False,
    ),
    evaluate: bool = option("Measure accuracy: the file has a column of tags.", False),
    raw: bool = option(
        "Read plain sentences, one per line, and tokenize them.", False, heading=options.INPUT
    ),
    columns: options.Columns,
    decoding: options.Decoding,
    asked: options.Model,
    json: bool = options.JSON,
) -> None:
    """Tag each token.

    Prints one line per line of input: the token, a tab, its tag. CoNLL-U is printed as it was
    read, with the tags in their column.

    \b
    charlm tag sentences.conll
    charlm tag --raw letters.txt
    charlm tag --evaluate entities.conll
    """
    if file is None:
        file = piped("a file of tokens, one per line: charlm tag FILE")
    say_loading()
    from charlm.models.load import load

    tagger = load(asked.model, task="tagger", root=asked.root)
    if asked.model is None:
        say_newest(tagger.checkpoint)
    lines = texts_of(file, "line", decoding)
    table = Table(
        _places(tagger, columns),
        name=name_of(file),
        tagged=evaluate,
        known=frozenset(tagger.names),
        advice=_ADVICE,
    )
    if evaluate:
        _evaluate(tagger, file, table.sentences(numbered(lines)), json=json)
    else:
        writer = tags.TagWriter(tagger, table, raw=raw, json=json)
        through(file, portions(lines, raw=raw), writer.write)


def _places(tagger: "Tagger", asked: options.Columns) -> Places:
    """The columns that were asked for, or else the names by which training found them."""
    text = tagger.checkpoint.info.get("text")
    about = text if isinstance(text, dict) else {}
    usual = (about.get("token_column"), about.get("tag_column"))
    return Places(asked.token_column, asked.tag_column, usual=usual)


def _evaluate(tagger: "Tagger", file: str, sentences: "Iterable[Sentence]", *, json: bool) -> None:
    """Say how many tags, and how many whole chunks, are right."""
    meant: list[tuple[str, ...]] = []
    found: list[list[str]] = []
    with Meter(file, noun="sentences", silent=True) as meter:
        for portion in together(sentences):
            found += tagger.tag([one.tokens for one in portion])
            meant += [one.tags or () for one in portion]
            meter.update(len(portion), 0)
    if not meant:
        raise TextError(f"there is no sentence in {name_of(file)}.")
    _check_known(tagger, {tag for tags in meant for tag in tags}, file)
    figures = TagScores.of(meant, found)
    if json:
        out_json(figures.to_json())
        return
    for text in tags.report(figures):
        out(f"{text}\n")


def _check_known(tagger: "Tagger", tags: set[str], file: str) -> None:
    """Name tags that the tagger cannot get right. Raises TextError if it knows none of them."""
    strange = tags - set(tagger.names)
    named = ", ".join(safe_text(tag) for tag in sorted(strange)[:10])
    if strange == tags:
        raise TextError(
            f"{name_of(file)}: the tagger knows none of its tags ({named:.60}). Say in which "
            "column they are: --tag-column."
        )
    if strange:
        say(f"tags that the tagger does not know, and so cannot get right: {named}")
