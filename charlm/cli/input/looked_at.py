"""The model that is looked into, and the texts that it reads meanwhile."""

from pathlib import Path
from typing import TYPE_CHECKING

from charlm.cli import options
from charlm.cli.input.beginning import dash_is_piped, documents_of, piped
from charlm.cli.input.declared import Options, option
from charlm.cli.input.model import language_model, load_model
from charlm.cli.input.option_rules import Apart, OneOf, Rules
from charlm.cli.output.terminal import say
from charlm.config import Split

if TYPE_CHECKING:
    from charlm.models.language_model import LanguageModel

_PEOPLE = "it is for people"
FORMS: Rules = (OneOf("--json", "--tsv"), Apart("--html", ("--json", "--tsv"), _PEOPLE))
DRAWN: Rules = (*FORMS, Apart("--svg", ("--json", "--tsv"), _PEOPLE))
TEXTS: Rules = (
    *options.TEXT_OR_FILE,
    Apart("TEXTS", "--split-on", "that is about the texts of a file"),
    *FORMS,
)
DRAWN_TEXTS: Rules = (*TEXTS, *DRAWN[len(FORMS) :])
_LEFT_TO_RIGHT = (
    "this model reads both sides of each token (--bidirectional); what is looked into here are "
    "models that read from left to right."
)


class Looked(Options, heading=options.INPUT):
    """The file of texts that are looked at, and where one ends."""

    file: str | None = options.file("Look at the texts of this file; - is standard input.")
    split_on: Split | None = options.SPLIT_AS_TRAINED


class Printed(Options, heading=options.OUTPUT):
    """The form of what was found."""

    json: bool = options.JSON
    tsv: bool = options.TSV
    html: Path | None = option("Write all of it to this HTML page.")


class Drawn(Printed, heading=options.OUTPUT):
    """The same of what is a picture."""

    svg: Path | None = option("Write the picture to this SVG file.")


def model_of(asked: options.Model, label: str | None = None) -> "LanguageModel":
    """The model that was asked for. Raises UsageError if it reads both sides."""
    found = language_model(load_model(asked), _LEFT_TO_RIGHT)
    return found if label is None else found.with_label(label)


def texts_of(
    lm: "LanguageModel",
    texts: list[str] | None,
    given: Looked,
    decoding: options.Decoding,
    *,
    most_tokens: int,
) -> list[str]:
    """The texts that were given, or those of a file or a pipe; not more than so many tokens."""
    from charlm.inspection.network import first_of
    from charlm.text.corpus import split_sequences

    texts, file = dash_is_piped(texts, given.file)
    if not texts:
        named = file or piped("a text to look at, or --file FILE")
        split_on = given.split_on or lm.checkpoint.split_on
        texts = [
            text
            for document in documents_of([named], decoding)
            for text in split_sequences(document.text, split_on)
        ]
    kept, is_cut = first_of(lm, texts, most_tokens)
    if is_cut:
        say(f"the first {most_tokens:,} tokens are looked at")
    return kept
