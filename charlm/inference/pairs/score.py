"""What a model says of a pair: log P(target | source), token by token, and where it looked."""

import dataclasses
from typing import NamedTuple

from charlm import metrics


class TargetToken(NamedTuple):
    """A token of a target: its log P in nats, and where attention looked, of each source token.

    The last one is <EOS>. attention is empty for a model without it.
    """

    token: str
    log_prob: float
    is_unknown: bool
    attention: tuple[float, ...]

    @property
    def surprisal(self) -> float:
        """-log2 p, in bits."""
        return metrics.surprisal_bits(self.log_prob)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairScore:
    """log P(target | source) in nats, the target's end included.

    The last of its tokens, and of source_tokens, is <EOS>. What is unknown in the target counts as
    <UNK>, one symbol whatever it stands for.
    """

    source: str
    target: str
    total_log_prob: float
    source_tokens: tuple[str, ...] = dataclasses.field(repr=False)
    tokens: tuple[TargetToken, ...] = dataclasses.field(repr=False)

    @property
    def text(self) -> str:
        """The target: what has this probability."""
        return self.target

    @property
    def num_tokens(self) -> int:
        """Of the target, <EOS> included."""
        return len(self.tokens)

    @property
    def num_oov(self) -> int:
        """The tokens of the target outside the vocabulary."""
        return sum(token.is_unknown for token in self.tokens)

    @property
    def perplexity(self) -> float:
        """Per token of the target."""
        return metrics.perplexity(self.total_log_prob, self.num_tokens)

    @property
    def probability(self) -> str:
        """In scientific form, however small: 3.2e-513."""
        return metrics.scientific(self.total_log_prob)

    @property
    def bits_per_character(self) -> float | None:
        """Bits of the whole target a character of it; None for an empty one."""
        return metrics.bits_per(self.total_log_prob, len(self.target))

    def _repr_html_(self) -> str:
        from charlm.display.alignment_page import alignment

        return alignment(self)
