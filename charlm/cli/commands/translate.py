"""charlm translate."""

import sys
from itertools import islice

import typer

from charlm.cli import options
from charlm.cli.input.beginning import dash_is_piped, piped, whole_texts_of
from charlm.cli.input.declared import Options, option
from charlm.cli.input.model import translator
from charlm.cli.input.option_rules import Apart, OneOf, Rules
from charlm.cli.output import translations
from charlm.cli.output.terminal import out, out_json, say

_AT_ONCE = 256  # lines of a file

RULES: Rules = (
    *options.TEXT_OR_FILE,
    OneOf("--json", "--tsv"),
    OneOf("--beam", "--greedy"),
    Apart("--attention", ("--json", "--tsv"), "it is for people"),
)


class Search(Options):
    """How targets are found."""

    beam: int = option("Hypotheses that are kept at each token.", 5, least=1)
    greedy: bool = option("Short for --beam 1: the likeliest token each time.", False)
    n_best: int = option("Number of targets to print per source.", 1, least=1)
    max_tokens: int | None = option(
        "Maximum number of tokens per target.  [default: ten times the source's, and 100]", least=1
    )
    copy: bool = option(
        "Put in the token of the source that was looked at where the target's is unknown.", False
    )
    length_penalty: float = option(
        "Rank by log P / tokens ** this: more than 0 is kinder to long targets.", 0.0
    )


class Printed(Options, heading=options.OUTPUT):
    """The form of targets."""

    attention: bool = option("Show where the decoder looked at each token.", False)
    json: bool = options.JSON
    tsv: bool = options.TSV


def translate_cli(
    *,
    texts: list[str] | None = typer.Argument(
        None, help="Sources to write targets for.", show_default=False
    ),
    search: Search,
    features: str | None = option(
        "Features of the sources (V;PST), for a model trained with them; in a file they stand "
        "behind a tab."
    ),
    file: str | None = options.file("Read a source from each line; - is standard input."),
    decoding: options.Decoding,
    asked: options.Model,
    printed: Printed,
) -> None:
    """Write the likeliest target for each source.

    The model is a translator (charlm train --task translator).

    \b
    charlm translate --model numbers "42" "1,337"
    charlm translate --model numbers "42" --n-best 3
    charlm translate --model numbers "42" --attention
    charlm translate --model numbers --file numbers.txt --tsv
    charlm translate --model forms walk sing --features "V;PST"
    """
    texts, file = dash_is_piped(texts, file)
    if not texts:
        file = file or piped('a source: charlm translate "a text"')
    loaded = translator(asked)
    unseen: set[str] = set()
    left_out: set[str] = set()
    lines = whole_texts_of(file, "line", decoding) if file else iter(texts or ())
    if features is not None:
        lines = (loaded.line((line, features)) for line in lines)
    while part := list(islice(lines, _AT_ONCE if file else None)):
        found = loaded.translate_all(
            part,
            beam=1 if search.greedy else max(search.beam, search.n_best),
            n_best=search.n_best,
            max_tokens=search.max_tokens,
            length_penalty=search.length_penalty,
            copy=search.copy,
        )
        for source, several in zip(part, found, strict=True):
            unseen.update(loaded.unseen(source))
            left_out.update(loaded.unseen_features(source))
            parts = loaded.parts(source)
            if printed.json:
                out_json(translations.fields(parts, several))
            elif printed.tsv:
                out("".join(f"{line}\n" for line in translations.rows(parts, several)))
            else:
                out("".join(f"{one.text}\n" for one in several))
            if printed.attention:
                scores = loaded.score_all((source, one.text) for one in several)
                out("".join(f"{line}\n" for score in scores for line in translations.map_of(score)))
        sys.stdout.flush()
    if unseen:
        say(f"symbols that training never saw, read as <UNK>: {' '.join(sorted(unseen)[:10])}")
    if left_out:
        say(f"features that training never saw, left out: {' '.join(sorted(left_out)[:10])}")
