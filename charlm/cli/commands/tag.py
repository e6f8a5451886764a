"""charlm tag."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from charlm.cli import options
from charlm.cli.input.beginning import texts_of
from charlm.cli.input.option_rules import Apart, Rules
from charlm.cli.output import tag_report
from charlm.cli.output.meter import Meter
from charlm.cli.output.terminal import out, out_json, out_line, say, say_loading
from charlm.config import RUNS
from charlm.display.safe_text import safe_text
from charlm.errors import TextError, UsageError
from charlm.text.conll import (
    Places,
    Sentence,
    Table,
    are_chunks,
    is_break,
    spans,
)

if TYPE_CHECKING:
    from charlm.models.heads import Tagger
    from charlm.text.streaming import Line

_SENTENCES = 256  # that are read at a time, where they are there
_TOKENS = 8192
_ADVICE = (
    "--raw cuts plain sentences into words; --token-column says which of several columns to take."
)
RULES: Rules = (
    Apart("--raw", ("--evaluate", "--token-column", "--tag-column"), "raw text has no columns"),
)


def tag_cli(
    file: Annotated[
        str | None,
        typer.Argument(
            help="One token per line, a blank line after each sentence; - is standard input.",
            show_default=False,
        ),
    ] = None,
    evaluate: Annotated[
        bool,
        typer.Option("--evaluate", help="Measure accuracy: the file has a column of tags."),
    ] = False,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="Read plain sentences, one per line, and tokenize them.",
            rich_help_panel=options.INPUT,
        ),
    ] = False,
    token_column: options.TokenColumn = None,
    tag_column: options.TagColumn = None,
    encoding: options.Encoding = "utf-8",
    errors: options.Errors = "strict",
    model: options.Model = None,
    root: options.Runs = RUNS,
    json: options.Json = False,
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
        if sys.stdin.isatty():
            raise UsageError("give a file of tokens, one per line: charlm tag FILE")
        file = "-"
    say_loading()
    from charlm.models.load import load

    tagger = load(model, task="tagger", root=root)
    if model is None:
        step = tagger.checkpoint
        say(f"model: {step.path.parent.name} (step {step.step:,})")
    lines = texts_of(file, "line", encoding, errors)
    known = frozenset(tagger.names)
    table = Table(
        _places(tagger, token_column, tag_column),
        name=_name(file),
        tagged=evaluate,
        known=known,
        advice=_ADVICE,
    )
    if evaluate:
        _evaluate(tagger, file, table, lines, json=json)
        return
    with Meter(file) as meter:
        number = 1
        for batch in _batches(lines, raw=raw):
            if raw:
                _write_raw(tagger, batch, json=json)
            else:
                _write(tagger, table, number, batch, json=json)
            sys.stdout.flush()
            number += len(batch)
            meter.update(len(batch), batch[-1].end)


def _places(tagger: "Tagger", token: str | None, tag: str | None) -> Places:
    """The columns that were asked for, or else the names by which training found them."""
    text = tagger.checkpoint.info.get("text")
    about = text if isinstance(text, dict) else {}
    return Places(token, tag, usual=(about.get("token_column"), about.get("tag_column")))


def _batches(lines: "Iterable[Line | None]", *, raw: bool) -> "Iterator[list[Line]]":
    """Lines in portions that end with a sentence; none waits for a sentence that is yet to come.

    A line that is ``raw`` is a sentence.

    Raises TextError at a line that is no text, when those before it have been given out.
    """
    batch: list[Line] = []
    whole = count = 0  # lines up to the last break, breaks among them
    for line in lines:
        if line is None:
            if whole:
                yield batch[:whole]
                batch, whole, count = batch[whole:], 0, 0
            continue
        if line.problem is not None:
            if batch:
                yield batch
            raise TextError(line.problem)
        batch.append(line)
        if raw or is_break(line.text):
            whole, count = len(batch), count + 1
        if whole and (count >= _SENTENCES or len(batch) >= _TOKENS):
            yield batch[:whole]
            batch, whole, count = batch[whole:], 0, 0
    if batch:
        yield batch


def _write(
    tagger: "Tagger", table: Table, number: int, batch: "Sequence[Line]", *, json: bool
) -> None:
    """Tag the sentences in a portion of lines, the first of which has a number; and write them."""
    is_begun = table.width is not None
    found = list(table.sentences((n, line.text) for n, line in enumerate(batch, number)))
    if table.names is not None and not is_begun and not json:
        say(f"CoNLL-U: tags go into its column {table.names[table.tag]}")
    tags = _tags(tagger, found, json=json)
    if json:
        return
    tag_of = {
        number: tag
        for sentence, its_tags in zip(found, tags, strict=True)
        for number, tag in zip(sentence.numbers, its_tags, strict=True)
    }
    for at, line in enumerate(batch, number):
        text = table.written(line.text, tag_of[at]) if at in tag_of else line.text
        out_line(text, line.ending or "\n")


def _write_raw(tagger: "Tagger", batch: "Sequence[Line]", *, json: bool) -> None:
    """Tag lines that are plain sentences, and write their words, a blank line behind each line."""
    from charlm.tokenizers.word import words_of

    found = [Sentence(tuple(words_of(line.text)), None) for line in batch]
    tags = _tags(tagger, [sentence for sentence in found if sentence.tokens], json=json)
    if json:
        return
    rest = iter(tags)
    for sentence in found:
        if sentence.tokens:
            for pair in zip(sentence.tokens, next(rest), strict=True):
                out_line("\t".join(pair))
        out_line("")


def _tags(tagger: "Tagger", found: Sequence[Sentence], *, json: bool) -> list[list[str]]:
    """The likeliest tags of sentences; as JSON they are written at once, one object each."""
    log_probs = tagger.log_probs([sentence.tokens for sentence in found])
    best = [scores.argmax(axis=1) for scores in log_probs]
    found_tags = [[tagger.names[at] for at in places] for places in best]
    if json:
        for sentence, scores, places, tags in zip(found, log_probs, best, found_tags, strict=True):
            out_json(
                {
                    "tokens": list(sentence.tokens),
                    "tags": tags,
                    "log_probs_nats": [
                        float(row[at]) for row, at in zip(scores, places, strict=True)
                    ],
                    "spans": [span._asdict() for span in spans(tags)] if are_chunks(tags) else [],
                }
            )
    return found_tags


def _evaluate(
    tagger: "Tagger", file: str, table: Table, lines: "Iterable[Line | None]", *, json: bool
) -> None:
    """Say how many tags, and how many whole chunks, are right."""
    meant: list[tuple[str, ...]] = []
    found: list[list[str]] = []
    with Meter(file, noun="sentences", silent=True) as meter:
        batch: list[Sentence] = []
        for sentence in table.sentences(_numbered(lines)):
            batch.append(sentence)
            if len(batch) == _SENTENCES:
                found += tagger.tag([one.tokens for one in batch])
                meant += [one.tags or () for one in batch]
                meter.update(len(batch), 0)
                batch = []
        found += tagger.tag([one.tokens for one in batch])
        meant += [one.tags or () for one in batch]
    if not meant:
        raise TextError(f"there is no sentence in {_name(file)}.")
    _check_known(tagger, {tag for tags in meant for tag in tags}, file)
    found_out = tag_report.figures(meant, found)
    if json:
        out_json(tag_report.fields(found_out))
        return
    for text in tag_report.report(found_out):
        out(f"{text}\n")


def _check_known(tagger: "Tagger", tags: set[str], file: str) -> None:
    """Name tags that the tagger cannot get right. Raises TextError if it knows none of them."""
    strange = tags - set(tagger.names)
    named = ", ".join(safe_text(tag) for tag in sorted(strange)[:10])
    if strange == tags:
        raise TextError(
            f"{_name(file)}: the tagger knows none of its tags ({named:.60}). Say in which column "
            "they are: --tag-column."
        )
    if strange:
        say(f"tags that the tagger does not know, and so cannot get right: {named}")


def _name(file: str) -> str:
    return "standard input" if file == "-" else file


def _numbered(lines: "Iterable[Line | None]") -> Iterator[tuple[int, str]]:
    number = 0
    for line in lines:
        if line is None:
            continue
        if line.problem is not None:
            raise TextError(line.problem)
        number += 1
        yield number, line.text
