"""charlm tag."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlm.cli import options
from charlm.cli.meter import Meter
from charlm.cli.terminal import out, out_json, out_line, safe_text, say, say_loading
from charlm.config import RUNS
from charlm.errors import TextError, UsageError
from charlm.tagged import (
    Sentence,
    are_chunks,
    columns,
    is_break,
    score_spans,
    sentences,
    spans,
)

if TYPE_CHECKING:
    from charlm.head_api import Tagger
    from charlm.streams import Line

_SENTENCES = 256  # that are read at a time, where they are there
_TOKENS = 8192


def tag_cli(
    file: Annotated[
        str | None,
        typer.Argument(
            help="A token a line, a blank line between sentences; - is stdin.", show_default=False
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A tagger's name, or a path.  [default: the newest finished one]",
        ),
    ] = None,
    root: options.Runs = RUNS,
    evaluate: Annotated[
        bool,
        typer.Option("--evaluate", help="The last column has the tags: how many are right?"),
    ] = False,
    json: options.Json = False,
    encoding: options.FileEncoding = "utf-8",
    errors: options.Errors = "strict",
) -> None:
    """The tag of each token.

    What comes out is a line for each line that came in: the token, a tab, its tag.

    \b
    charlm tag sentences.conll
    charlm tag --evaluate entities.conll
    """
    if file is None:
        if sys.stdin.isatty():
            raise UsageError("give a file of tokens, one a line: charlm tag FILE")
        file = "-"
    say_loading()
    from charlm.head_api import load_tagger
    from charlm.streams import stream_lines

    tagger = load_tagger(model, root)
    if model is None:
        step = tagger.checkpoint
        say(f"model: {step.path.parent.name} (step {step.step:,})")
    lines = stream_lines(file, encoding=encoding, errors=errors)
    if evaluate:
        _evaluate(tagger, file, lines, json=json)
        return
    with Meter(file) as meter:
        for batch in _batches(lines):
            _write(tagger, batch, json=json)
            sys.stdout.flush()
            meter.update(len(batch), batch[-1].end)


def _batches(lines: "Iterable[Line | None]") -> "Iterator[list[Line]]":
    """Lines in portions that end with a sentence; none waits for a sentence that is yet to come.

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
        if is_break(line.text):
            whole, count = len(batch), count + 1
        if whole and (count >= _SENTENCES or len(batch) >= _TOKENS):
            yield batch[:whole]
            batch, whole, count = batch[whole:], 0, 0
    if batch:
        yield batch


def _write(tagger: "Tagger", batch: "Sequence[Line]", *, json: bool) -> None:
    """Tag the sentences in a portion of lines, and write them."""
    found = list(sentences(((n, line.text) for n, line in enumerate(batch)), name="", tagged=False))
    log_probs = tagger.log_probs([sentence.tokens for sentence in found])
    best = [scores.argmax(axis=1) for scores in log_probs]
    if json:
        for sentence, scores, places in zip(found, log_probs, best, strict=True):
            tags = [tagger.names[at] for at in places]
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
        return
    rest = iter([tagger.names[at] for places in best for at in places])
    for line in batch:
        if is_break(line.text):
            out_line(line.text)
        else:
            out_line(f"{columns(line.text.strip(' '))[0]}\t{next(rest)}")


def _evaluate(tagger: "Tagger", file: str, lines: "Iterable[Line | None]", *, json: bool) -> None:
    """Say how many tags, and how many whole chunks, are right."""
    name = "standard input" if file == "-" else file
    meant: list[tuple[str, ...]] = []
    found: list[list[str]] = []
    with Meter(file, noun="sentences", silent=True) as meter:
        batch: list[Sentence] = []
        for sentence in sentences(_numbered(lines), name=name, tagged=True):
            batch.append(sentence)
            if len(batch) == _SENTENCES:
                found += tagger.tag([one.tokens for one in batch])
                meant += [one.tags or () for one in batch]
                meter.update(len(batch), 0)
                batch = []
        found += tagger.tag([one.tokens for one in batch])
        meant += [one.tags or () for one in batch]
    if not meant:
        raise TextError(f"there is no sentence in {name}.")
    pairs = [
        pair
        for ours, theirs in zip(found, meant, strict=True)
        for pair in zip(ours, theirs, strict=True)
    ]
    right = sum(ours == theirs for ours, theirs in pairs)
    figures: dict[str, Any] = {
        "sentences": len(meant),
        "tokens": len(pairs),
        "token_accuracy": right / len(pairs),
    }
    chunked = are_chunks(tag for pair in pairs for tag in pair)
    scores = score_spans(meant, found) if chunked else {}
    if json:
        by_kind = {kind: score._asdict() for kind, score in scores.items() if kind}
        overall = {f"span_{k}": v for k, v in scores[""]._asdict().items()} if scores else {}
        out_json({**figures, **overall, "kinds": by_kind})
        return
    out(f"sentences:      {len(meant):,}\n")
    out(f"tokens:         {len(pairs):,}\n")
    out(f"token accuracy: {figures['token_accuracy']:.4f}\n")
    if not scores:
        return
    out(f"\n{'span':<16} {'precision':>9} {'recall':>9} {'F1':>9} {'in text':>9} {'found':>9}\n")
    for kind, s in sorted(scores.items()):
        out(
            f"{safe_text(kind) or 'all':<16} {s.precision:>9.4f} {s.recall:>9.4f} {s.f1:>9.4f} "
            f"{s.meant:>9,} {s.found:>9,}\n"
        )


def _numbered(lines: "Iterable[Line | None]") -> Iterator[tuple[int, str]]:
    number = 0
    for line in lines:
        if line is None:
            continue
        if line.problem is not None:
            raise TextError(line.problem)
        number += 1
        yield number, line.text
