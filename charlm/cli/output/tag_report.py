"""How many tags, and how many whole spans, were right: a report for people, and JSON."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from charlm.display.safe_text import safe_text
from charlm.text.conll import SpanScore, are_chunks, score_spans


class Figures(NamedTuple):
    """What came of tagging sentences whose tags are known.

    scores are those of spans by their kind, "" of all; there are none if tags are not of spans.
    """

    sentences: int
    tokens: int
    accuracy: float
    scores: Mapping[str, SpanScore]


def figures(meant: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> Figures:
    """Those of the tags of sentences, of one at least."""
    pairs = [
        pair
        for ours, theirs in zip(found, meant, strict=True)
        for pair in zip(ours, theirs, strict=True)
    ]
    right = sum(ours == theirs for ours, theirs in pairs)
    chunked = are_chunks(tag for pair in pairs for tag in pair)
    scores = score_spans(meant, found) if chunked else {}
    return Figures(len(meant), len(pairs), right / len(pairs), scores)


def fields(of: Figures) -> dict[str, Any]:
    """The figures as JSON."""
    overall = {f"span_{k}": v for k, v in of.scores[""]._asdict().items()} if of.scores else {}
    return {
        "sentences": of.sentences,
        "tokens": of.tokens,
        "token_accuracy": of.accuracy,
        **overall,
        "kinds": {kind: score._asdict() for kind, score in of.scores.items() if kind},
    }


def report(of: Figures) -> Iterator[str]:
    """The figures in lines of at most 80 columns."""
    yield f"sentences:      {of.sentences:,}"
    yield f"tokens:         {of.tokens:,}"
    yield f"token accuracy: {of.accuracy:.4f}"
    if not of.scores:
        return
    yield ""
    yield f"{'span':<16} {'precision':>9} {'recall':>9} {'F1':>9} {'in text':>9} {'found':>9}"
    for kind, s in sorted(of.scores.items()):
        yield (
            f"{safe_text(kind) or 'all':<16} {s.precision:>9.4f} {s.recall:>9.4f} {s.f1:>9.4f} "
            f"{s.meant:>9,} {s.found:>9,}"
        )
