"""How well a model of pairs does on pairs it has not seen: what it predicts, and what it writes."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from charlm import metrics
from charlm.errors import UsageError
from charlm.inference.pairs.error_rates import ErrorRates, error_rates
from charlm.inference.pairs.score import PairScore


class SentenceScores(NamedTuple):
    """BLEU and chrF, each from 0 to 100, as sacrebleu computes them (Post 2018)."""

    bleu: float
    chrf: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairSummary:
    """How well pairs are predicted and written: nats per target token, and error rates.

    num_pairs are all pairs, rates.number their different sources. num_tokens are those of all
    targets, <EOS> included, num_oov those of them outside the vocabulary.
    """

    num_pairs: int
    num_tokens: int
    num_oov: int
    total_log_prob: float
    rates: ErrorRates
    sentences: SentenceScores | None = None

    @property
    def cross_entropy(self) -> float:
        """Nats per token of the targets."""
        return -self.total_log_prob / max(1, self.num_tokens) + 0.0

    @property
    def perplexity(self) -> float:
        """Per token of the targets."""
        return metrics.perplexity(self.total_log_prob, max(1, self.num_tokens))

    def to_json(self, unit: str = "nats") -> dict[str, Any]:
        """All figures by name, log P and cross-entropy in a unit."""
        nats = metrics.UNITS[unit]
        rates = self.rates
        found: dict[str, Any] = {
            "pairs": self.num_pairs,
            "sources": rates.number,
            "target_tokens": self.num_tokens,
            "oov_target_tokens": self.num_oov,
            f"total_log_prob_{unit}": self.total_log_prob / nats,
            f"cross_entropy_{unit}_per_target_token": self.cross_entropy / nats,
            "perplexity_per_target_token": metrics.finite(self.perplexity),
            "accuracy": rates.accuracy,
            "wrong_sources": rates.wrong,
            "error_rate": rates.whole if rates.number else None,
            "edits": rates.edits,
            "reference_symbols": rates.length,
            "symbol_error_rate": rates.symbols if rates.length else None,
        }
        if self.sentences is not None:
            found |= self.sentences._asdict()
        return found


def by_source(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The different targets of each source, its references, in their order."""
    found: dict[str, list[str]] = {}
    for source, target in pairs:
        targets = found.setdefault(source, [])
        if target not in targets:
            targets.append(target)
    return found


def symbols_of(target: str, level: str) -> list[str]:
    """What error rates count in a target: words at word level, else characters."""
    return target.split() if level == "word" else list(target)


def summarise(
    scores: Sequence[PairScore], written: Sequence[str], *, level: str, sentences: bool = False
) -> PairSummary:
    """The figures of pairs, given their scores and what was written for each different source.

    With ``sentences`` BLEU and chrF, too. Raises UsageError if sacrebleu is not there.
    """
    references = list(by_source((score.source, score.target) for score in scores).values())
    rates = error_rates(
        [symbols_of(text, level) for text in written],
        [[symbols_of(text, level) for text in several] for several in references],
    )
    return PairSummary(
        num_pairs=len(scores),
        num_tokens=sum(score.num_tokens for score in scores),
        num_oov=sum(score.num_oov for score in scores),
        total_log_prob=sum(score.total_log_prob for score in scores),
        rates=rates,
        sentences=sentence_scores(written, references) if sentences else None,
    )


def check_sentence_scores() -> None:
    """Raise UsageError unless sacrebleu is installed."""
    try:
        import sacrebleu  # noqa: F401
    except ImportError:
        raise UsageError(
            'BLEU and chrF need sacrebleu, which is not installed: pip install "charlm[bleu]"'
        ) from None


def sentence_scores(
    written: Sequence[str], references: Sequence[Sequence[str]]
) -> SentenceScores | None:
    """BLEU and chrF of all texts together, each with one reference or more; None of no text."""
    check_sentence_scores()
    import sacrebleu

    if not written:
        return None
    most = max(map(len, references))
    streams: Any = [  # the first reference of each, the second, …; None where there are fewer
        [several[at] if at < len(several) else None for several in references] for at in range(most)
    ]
    bleu = sacrebleu.corpus_bleu(list(written), streams).score
    chrf = sacrebleu.corpus_chrf(list(written), streams).score
    return SentenceScores(min(bleu, 100.0), min(chrf, 100.0))  # rounding can be above
