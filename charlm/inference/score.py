"""Teacher-forced scoring: the log-probability of every token given the true ones before it.

log P(y<1> … y<T>) = Σt log P(y<t> given y<1> … y<t-1>), <EOS> included. Sums are in float64.
"""

import bisect
import dataclasses
import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm import metrics
from charlm.engines.protocol import Details, Scorer
from charlm.errors import UsageError
from charlm.inference.unknown import Unknown
from charlm.inference.words import WordScore, word_scores
from charlm.tokenizers.base import Tokenizer
from charlm.tokenizers.ids import IdArray


class TokenScore(NamedTuple):
    """One token of a scored text, and the half-open range that it has in it.

    rank 1 is the likeliest type at its place; entropy, in bits, is how unsure the model was there.
    is_unknown tells whether it is outside the vocabulary.
    """

    piece: str
    log_prob: float
    rank: int
    entropy: float
    start: int
    end: int
    is_unknown: bool

    @property
    def num_tokens(self) -> int:
        """It is one, as a word is several."""
        return 1

    @property
    def surprisal(self) -> float:
        """-log2 p, in bits."""
        return metrics.surprisal_bits(self.log_prob)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextScore:
    """What the model says of a text. Logarithms are natural; <EOS> is among the tokens.

    num_oov are the tokens outside the vocabulary; unless the score is closed, the probability of
    what stands there is in the sums. tokens and words are there if they were asked for; level is
    what a token is, None of a mixture of models of different vocabularies.
    """

    text: str
    total_log_prob: float
    num_tokens: int
    num_oov: int
    tokens: tuple[TokenScore, ...] | None = dataclasses.field(default=None, repr=False)
    words: tuple[WordScore, ...] | None = dataclasses.field(default=None, repr=False)
    level: str | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def perplexity(self) -> float:
        """Per token."""
        return metrics.perplexity(self.total_log_prob, self.num_tokens)

    @property
    def probability(self) -> str:
        """In scientific form, however small: 3.2e-513."""
        return metrics.scientific(self.total_log_prob)

    @property
    def bits_per_character(self) -> float | None:
        """Bits of the whole text, <EOS> included, a character; None for an empty text."""
        return metrics.bits_per(self.total_log_prob, len(self.text))

    def span(self, start: int, end: int) -> WordScore:
        """The words from ``start`` up to but not ``end``, from 0 on, as one: log P is their sum.

        The last of all is the end of the text. Raises UsageError where words were not asked for,
        or there are no such words.

        >>> lm.score("The old man the boat.", words=True).span(1, 3).surprisal  # doctest: +SKIP
        """
        if self.words is None:
            raise UsageError("there are no words to take: score with words=True.")
        if not 0 <= start < end <= len(self.words):
            raise UsageError(
                f"words are 0 to {len(self.words)}, the end of the text among them; got {start} to "
                f"{end}."
            )
        some = self.words[start:end]
        return WordScore(
            text=self.text[some[0].start : some[-1].end],
            log_prob=sum(word.log_prob for word in some),
            start=some[0].start,
            end=some[-1].end,
            num_tokens=sum(word.num_tokens for word in some),
            is_unknown=any(word.is_unknown for word in some),
            entropy=some[0].entropy,
        )

    def to_html(self, *, pseudo: bool = False) -> str:
        """The heat map if there are tokens or words, else the figures, as a piece of HTML.

        ``pseudo`` figures are those of tokens given what stands on both sides.
        """
        from charlm.display.html_page import figures_table, heat_map

        if self.tokens is not None and self.level is not None:
            return heat_map(self.text, self.tokens, level=self.level, pseudo=pseudo)
        if self.words is not None:
            return heat_map(self.text, self.words, level="word", pseudo=pseudo)
        prefix = "pseudo-" if pseudo else ""
        bits = self.bits_per_character
        rows = {
            "text": self.text,
            "PLL (nats)" if pseudo else "log P (nats)": f"{self.total_log_prob:.4f}",
            f"{prefix}perplexity per token": f"{self.perplexity:,.3f}",
            f"{prefix}bits per character": "-" if bits is None else f"{bits:.3f}",
            "tokens": f"{self.num_tokens:,}",
        }
        return figures_table(rows)

    def _repr_html_(self) -> str:
        return self.to_html()


def score_distinct(
    scorer_for: Callable[[int], Scorer],
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    unknown: Unknown | None,
    context: str,
    per_token: bool,
    words: bool,
    repeats: bool = False,
) -> list[TextScore]:
    """Score texts as score_texts does, by the engine for so many tokens.

    Each is scored once, unless ``repeats``, where one that comes again may be given something else.
    """
    distinct = list(texts if repeats else dict.fromkeys(texts))
    scores = score_texts(
        scorer_for(sum(len(context) + len(text) + 1 for text in distinct)),
        tokenizer,
        distinct,
        unknown=unknown,
        context=context,
        per_token=per_token,
        words=words,
    )
    if repeats:
        return scores
    of_text = dict(zip(distinct, scores, strict=True))
    return [of_text[text] for text in texts]


def score_texts(
    engine: Scorer,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    unknown: Unknown | None = None,
    context: str = "",
    per_token: bool = False,
    words: bool = False,
) -> list[TextScore]:
    """Score texts, in order. What a text gets does not depend on the others beside it.

    With ``unknown`` what stands for <UNK> is spelled out and its probability is in the sums;
    without, <UNK> is one symbol, whatever it stands for. A ``context`` stands before each text
    and is read but not scored; no <EOS> comes after it, and a token that reaches from it into the
    text is one of the text's.
    """
    if not texts:
        return []
    cuts = [_cut(tokenizer, context, text, offsets=per_token or words) for text in texts]
    sequences = [cut.ids for cut in cuts]
    openers = tokenizer.openers() if words else None
    log_probs, details = engine.token_log_probs(
        sequences, details=per_token or words, openers=openers
    )
    if unknown is not None:
        places = np.flatnonzero(np.concatenate(sequences) == tokenizer.unk_id)
        if len(places):
            spelled = [kind for text in texts for kind in tokenizer.unknown(context + text)]
            log_probs[places] += unknown.log_probs(spelled)
    scores, at = [], 0
    for text, cut in zip(texts, cuts, strict=True):
        whole = slice(at, at + len(cut.ids))
        span = slice(at + cut.before, whole.stop)
        at = whole.stop
        ids = cut.ids[cut.before :]
        score = TextScore(
            text=text,
            total_log_prob=float(log_probs[span].sum()),
            num_tokens=len(ids),
            num_oov=int((ids == tokenizer.unk_id).sum()),
            level=tokenizer.level,
        )
        if details is not None:
            offsets = _own(cut, len(context))
            tokens = _tokens(tokenizer, ids, log_probs[span], details, span, offsets)
            if openers is not None:
                opening = details.opening
                found = word_scores(
                    context + text,
                    log_probs[whole],
                    None if opening is None else opening[whole],
                    np.isin(cut.ids, openers),
                    cut.ids == tokenizer.unk_id,
                    details.entropies[whole].clip(min=0) / metrics.NATS_PER_BIT,
                    cut.offsets,
                    len(context),
                )
                score = dataclasses.replace(score, words=found)
            score = dataclasses.replace(score, tokens=tokens if per_token else None)
        scores.append(score)
    return scores


def ended(tokenizer: Tokenizer, texts: Sequence[str]) -> list[IdArray]:
    """The ids of texts, <EOS> behind each."""
    eos = np.array([tokenizer.eos_id], dtype=np.int32)
    return [np.concatenate((tokenizer.encode(text), eos)) for text in texts]


class _Cut(NamedTuple):
    """A text, its context in front, as ids with <EOS>; ``before`` of them are the context's.

    offsets are the ranges of the ids in context and text, where they were asked for.
    """

    ids: IdArray
    before: int
    offsets: list[tuple[int, int]]


def _cut(tokenizer: Tokenizer, context: str, text: str, *, offsets: bool) -> _Cut:
    eos = np.array([tokenizer.eos_id], dtype=np.int32)
    if not (context or offsets):
        return _Cut(np.concatenate((tokenizer.encode(text), eos)), 0, [])
    whole = context + text
    ids, ranges = tokenizer.encode_with_offsets(whole)
    before = bisect.bisect_right(ranges, len(context), key=operator.itemgetter(1))
    return _Cut(np.concatenate((ids, eos)), before, [*ranges, (len(whole), len(whole))])


def _own(cut: _Cut, context: int) -> list[tuple[int, int]]:
    """The ranges in the text of the ids that are its own, after so many characters of context."""
    return [(max(0, start - context), end - context) for start, end in cut.offsets[cut.before :]]


def _tokens(
    tokenizer: Tokenizer,
    ids: IdArray,
    log_probs: NDArray[np.float64],
    details: Details,
    span: slice,
    offsets: list[tuple[int, int]],
) -> tuple[TokenScore, ...]:
    """A score for each of a text's own ids."""
    entropies = details.entropies[span] / metrics.NATS_PER_BIT
    arrays = (log_probs, details.ranks[span], entropies.clip(min=0))
    columns = (array.tolist() for array in arrays)
    ranges = zip(*offsets, strict=True)
    unknown = (ids == tokenizer.unk_id).tolist()
    rows = zip(tokenizer.pieces(ids), *columns, *ranges, unknown, strict=True)
    return tuple(map(TokenScore._make, rows))
