"""charlm fill."""

import sys
from typing import Literal

import typer

from charlm.cli import options
from charlm.cli.input.beginning import dash_is_piped, piped, whole_texts_of
from charlm.cli.input.declared import option
from charlm.cli.input.model import cloze_model, load_model
from charlm.cli.input.option_rules import OneOf, Rules
from charlm.cli.input.text_file import say_lines_are_texts
from charlm.cli.output.candidates import filling_lines, filling_table
from charlm.cli.output.terminal import out, out_json, say, say_loading
from charlm.errors import TextError
from charlm.fields.candidates import filling_fields

RULES: Rules = (*options.TEXT_OR_FILE, *options.CUT, OneOf("--json", "--tsv"))


def fill_cli(
    *,
    texts: list[str] | None = typer.Argument(
        None,
        help="Texts with gaps: [?] is one token, [?5] is five; \\[?] is plain text.",
        show_default=False,
    ),
    top: int = option("Number of fillings to print per text.", 10, least=1),
    unk: Literal["resample", "keep"] = option("Leave out <UNK>, or keep it as U+FFFD.", "resample"),
    file: str | None = options.file("Fill each line of this file; - is standard input."),
    cut: options.Cut,
    decoding: options.Decoding,
    asked: options.Model,
    printed: options.Printed,
) -> None:
    """Fill the gaps of a text.

    The model is a cloze model (charlm train --task cloze). A gap is [?], or [?5] for several
    tokens: characters, words or subwords, by the model's level. A backslash makes it plain text.

    \b
    charlm fill --model gaps "The apple and [?] salad"
    charlm fill --model gaps "The [?] and pear [?]" --top 5
    charlm fill --model gaps "The app[?2] and pear salad" --json
    charlm fill --model gaps --file gaps.txt --tsv
    """
    texts, file = dash_is_piped(texts, file)
    if not texts:
        file = file or piped('a text with a gap: charlm fill "The apple and [?] salad"')
    loaded = cloze_model(load_model(asked))
    if not loaded.is_small(1, "".join(texts or ())):
        say_loading()
    if file is not None and cut.parting is None:
        say_lines_are_texts(loaded.checkpoint.split_on)
    oov = 0
    given = whole_texts_of(file, cut.parting or "line", decoding) if file else texts or ()
    for number, text in enumerate(given, start=1):
        try:
            found = loaded.fill(text, top=top, unk=unk)
        except TextError as error:
            raise (TextError(f"line {number}: {error}") if file else error) from None
        oov += found.num_oov
        if printed.json:
            out_json(filling_fields(found, printed.unit))
        elif printed.tsv:
            lines = filling_lines(found, printed.unit, number)
            out("".join(f"{line}\n" for line in lines))
        else:
            out("\n" if number > 1 else "")
            out("".join(f"{line}\n" for line in filling_table(found, printed.unit)))
        if file:
            sys.stdout.flush()
    sys.stdout.flush()  # before what goes to stderr
    if oov:
        say(f"tokens of what is known that are not in the vocabulary, read as <UNK>: {oov}")
