"""What a bidirectional model makes of texts: sums of log P of each token given all others.

Such a sum is the pseudo-log-likelihood (PLL) of Salazar et al. 2020, "Masked Language Model
Scoring". It ranks texts, but it is no logarithm of a probability: over all texts its exponentials
do not add up to 1. So nothing here goes by the names that log-probabilities have elsewhere.
"""

import dataclasses

from charlm.inference.evaluate import Summary
from charlm.inference.score import TextScore, TokenScore
from charlm.inference.words import WordScore


@dataclasses.dataclass(frozen=True)
class PseudoScore:
    """What the model says of a text; logarithms are natural, <EOS> is among the tokens.

    ``sums`` are the same figures in the shape of a score, for what ranks and writes those.
    """

    sums: TextScore

    @property
    def text(self) -> str:
        """The text itself."""
        return self.sums.text

    @property
    def pseudo_log_likelihood(self) -> float:
        """Σt log P(token t given all others), the spelling of what is unknown included."""
        return self.sums.total_log_prob

    @property
    def num_tokens(self) -> int:
        """<EOS> among them."""
        return self.sums.num_tokens

    @property
    def num_oov(self) -> int:
        """Tokens outside the vocabulary."""
        return self.sums.num_oov

    @property
    def pseudo_perplexity(self) -> float:
        """exp(-PLL / tokens)."""
        return self.sums.perplexity

    @property
    def pseudo_bits_per_character(self) -> float | None:
        """-PLL in bits a character; None for an empty text."""
        return self.sums.bits_per_character

    @property
    def tokens(self) -> tuple[TokenScore, ...] | None:
        """If asked for: log_prob is that of a token given all others, rank its rank among types."""
        return self.sums.tokens

    @property
    def words(self) -> tuple[WordScore, ...] | None:
        """If asked for: log_prob is the pseudo-log-likelihood of a word, the sum of its tokens'."""
        return self.sums.words

    def _repr_html_(self) -> str:
        return self.sums.to_html(pseudo=True)


@dataclasses.dataclass(frozen=True)
class PseudoSummary:
    """The same of a whole text; ``sums`` has all figures, each of them a pseudo-figure."""

    sums: Summary

    @property
    def pseudo_log_likelihood(self) -> float:
        """Of all sequences, in nats."""
        return self.sums.total_log_prob

    @property
    def pseudo_perplexity(self) -> float | None:
        """exp(-PLL / tokens), <EOS> among them; None where there is no token."""
        return self.sums.perplexity_per_token
