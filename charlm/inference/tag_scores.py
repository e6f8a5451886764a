"""How many tags, and how many whole spans, are right."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from charlm.text.conll import SpanScore, are_chunks, score_spans


class TagScores(NamedTuple):
    """What came of tagging sentences whose tags are known.

    scores are those of spans by their kind, "" of all; there are none if tags are not of spans.
    """

    sentences: int
    tokens: int
    accuracy: float
    scores: Mapping[str, SpanScore]

    @classmethod
    def of(cls, meant: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> Self:
        """Those of the tags of sentences, of one at least."""
        pairs = [
            pair
            for ours, theirs in zip(found, meant, strict=True)
            for pair in zip(ours, theirs, strict=True)
        ]
        right = sum(ours == theirs for ours, theirs in pairs)
        chunked = are_chunks(tag for pair in pairs for tag in pair)
        scores = score_spans(meant, found) if chunked else {}
        return cls(len(meant), len(pairs), right / len(pairs), scores)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        of_all = self.scores[""]._asdict() if self.scores else {}
        return {
            "sentences": self.sentences,
            "tokens": self.tokens,
            "token_accuracy": self.accuracy,
            **{f"span_{name}": value for name, value in of_all.items()},
            "kinds": {kind: score._asdict() for kind, score in self.scores.items() if kind},
        }
