"""charlm next."""

import sys

import typer

from charlm.cli import options
from charlm.cli.input.beginning import read_beginning
from charlm.cli.input.declared import option
from charlm.cli.input.model import load_models, token_model
from charlm.cli.input.option_rules import OneOf, Rules
from charlm.cli.output.candidates import token_lines, token_table
from charlm.cli.output.terminal import out, out_json, say, say_loading
from charlm.fields.candidates import token_fields

_TOP = 20
_NO_COMMON_NEXT = (
    "models of different vocabularies have no next token in common: give one model, or models of "
    "one vocabulary."
)
RULES: Rules = (
    *options.MIXING,
    OneOf("PREFIX", "--file"),
    OneOf("--top", "--all"),
    OneOf("--json", "--tsv"),
)


def next_cli(
    *,
    prefix: str | None = typer.Argument(
        None, help="Text in front; - is standard input.  [default: empty]"
    ),
    top: int | None = option(
        f"Number of tokens to print; 0 is all.  [default: {_TOP}]", None, least=0
    ),
    everything: bool = option("Print all tokens.", False, "--all"),
    file: str | None = options.file("File that holds the text in front; - is standard input."),
    models: options.Mixture,
    printed: options.Printed,
) -> None:
    """Print the most likely next tokens.

    \b
    charlm next "The apple and p"
    charlm next --top 5 --unit bits
    charlm next --file sentences.txt --all --tsv
    """
    text = read_beginning(prefix, file, ways="a prefix or --file")
    loaded = token_model(load_models(models), _NO_COMMON_NEXT)
    if not loaded.is_small(1, text):
        say_loading()
    wanted = 0 if everything else _TOP if top is None else top
    found = loaded.next_tokens(text, top=wanted or None)
    if printed.json:
        for entry in found.entries:
            out_json(token_fields(entry, printed.unit))
    else:
        form = token_lines if printed.tsv else token_table
        for line in form(found, printed.unit):
            out(f"{line}\n")
    sys.stdout.flush()  # before what goes to stderr
    if found.num_oov:
        say(f"tokens of the prefix that are not in the vocabulary, read as <UNK>: {found.num_oov}")
    say(
        f"entropy {found.entropy:.3f} bits, perplexity {found.perplexity:,.2f}, "
        f"{found.num_types:,} types"
    )
