"""What a model makes of a whole text: the sums of one pass, and every figure that follows.

Sums are in float64 and divided once. Denominators come from the original text, where words are
what white space separates and what separates sequences counts in nothing. docs/metrics.md
defines every figure.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from charlm import metrics
from charlm.engines.protocol import Ids, Reader, Scorer
from charlm.inference.score import ended
from charlm.inference.unknown import Unknown
from charlm.text import corpus
from charlm.text.portions import Mapped, Portion, in_portions, in_turn, in_whole_portions
from charlm.text.streaming import Piece
from charlm.tokenizers.base import Tokenizer

_PART = 2**16  # characters of a text that are looked at for the words that hold an OOV
_SPACE = re.compile(r"\s")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """Counts and sums over sequences; two of them add up. Logarithms are natural.

    tokens has an <EOS> for each sequence among them; oov_tokens are those that are <UNK>, and
    oov_words the words that hold one. The log-probabilities of these are those of <UNK> as a
    symbol; spelling_log_prob is what it takes besides to say what stands there, and None where
    that is left out. A figure that is not defined, such as those of no text, is None.
    """

    sequences: int = 0
    characters: int = 0
    bytes: int = 0
    words: int = 0
    tokens: int = 0
    oov_tokens: int = 0
    oov_words: int = 0
    closed_log_prob: float = 0.0  # of all tokens
    eos_log_prob: float | None = 0.0  # of the <EOS> among them, None if it is not known
    oov_log_prob: float = 0.0  # of the OOV tokens
    oov_words_log_prob: float = 0.0  # of the OOV tokens and of the words that hold one
    spelling_log_prob: float | None = None

    def __add__(self, other: "Summary") -> "Summary":
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        sums = {
            name: theirs[name] if value is None else value + (theirs[name] or 0)
            for name, value in mine.items()
        }
        return Summary(**sums)

    @property
    def total_log_prob(self) -> float:
        """Of all tokens, and of what the unknown ones stand for unless that is left out."""
        return self.closed_log_prob + (self.spelling_log_prob or 0.0)

    @property
    def oov_rate(self) -> float | None:
        """The share of OOVs in the tokens of the text, among which <EOS> is not."""
        return _share(self.oov_tokens, self.tokens - self.sequences)

    @property
    def cross_entropy(self) -> float | None:
        """Mean nats per token, <EOS> included."""
        return _share(-self.total_log_prob + 0.0, self.tokens)

    @property
    def closed_cross_entropy(self) -> float | None:
        """The same with <UNK> as one symbol, whatever it stands for: what training minimises."""
        return _share(-self.closed_log_prob + 0.0, self.tokens)

    @property
    def bits_per_character(self) -> float | None:
        """All bits, those of <EOS> included, shared over the characters."""
        return metrics.bits_per(self.total_log_prob, self.characters)

    @property
    def closed_bits_per_character(self) -> float | None:
        """The same with <UNK> as one symbol, whatever it stands for."""
        return metrics.bits_per(self.closed_log_prob, self.characters)

    @property
    def bits_per_byte(self) -> float | None:
        """All bits shared over the bytes of UTF-8."""
        return metrics.bits_per(self.total_log_prob, self.bytes)

    @property
    def perplexity_per_token(self) -> float | None:
        """Of all tokens, <EOS> and OOVs among them; inf where a float cannot hold it."""
        return self._per_token()

    @property
    def perplexity_per_token_excluding_oovs(self) -> float | None:
        """The same without the tokens that are <UNK>: they are not counted."""
        return self._per_token(oovs=False)

    @property
    def perplexity_per_token_excluding_eos(self) -> float | None:
        """The same without the ends of sequences: they are not counted."""
        return self._per_token(eos=False)

    @property
    def perplexity_per_token_excluding_oovs_and_eos(self) -> float | None:
        """The same without both. None if no token is left."""
        return self._per_token(oovs=False, eos=False)

    @property
    def perplexity_per_word(self) -> float | None:
        """The same shared over words: an <EOS> counts as one."""
        return self._per_word()

    @property
    def perplexity_per_word_excluding_oovs(self) -> float | None:
        """The same without the words that hold an OOV, left out with all their tokens."""
        return self._per_word(oovs=False)

    @property
    def perplexity_per_word_excluding_eos(self) -> float | None:
        """The same without the ends of sequences."""
        return self._per_word(eos=False)

    @property
    def perplexity_per_word_excluding_oovs_and_eos(self) -> float | None:
        """The same without both."""
        return self._per_word(oovs=False, eos=False)

    def to_json(self, unit: str = "nats") -> dict[str, Any]:
        """As JSON: null where a figure is not defined, or larger than a float."""
        counts = ("sequences", "characters", "bytes", "words", "tokens", "oov_tokens", "oov_rate")
        entropy, closed = (
            None if nats is None else nats / metrics.UNITS[unit]
            for nats in (self.cross_entropy, self.closed_cross_entropy)
        )
        return {
            "vocabulary": "closed" if self.spelling_log_prob is None else "open",
            **{name: getattr(self, name) for name in (*counts, "oov_words")},
            f"total_log_prob_{unit}": self.total_log_prob / metrics.UNITS[unit],
            f"cross_entropy_{unit}_per_token": entropy,
            f"cross_entropy_{unit}_per_token_closed_vocabulary": closed,
            **{
                (name := f"perplexity_per_{per}{without}"): metrics.finite(getattr(self, name))
                for per in ("token", "word")
                for without in ("", "_excluding_oovs", "_excluding_eos", "_excluding_oovs_and_eos")
            },
            "bits_per_character": self.bits_per_character,
            "bits_per_byte": self.bits_per_byte,
            "bits_per_character_closed_vocabulary": self.closed_bits_per_character,
        }

    def _per_token(self, *, oovs: bool = True, eos: bool = True) -> float | None:
        count, total = self.tokens, self.total_log_prob
        if not oovs:
            count, total = count - self.oov_tokens, self.closed_log_prob - self.oov_log_prob
        return self._perplexity(count, total, eos)

    def _per_word(self, *, oovs: bool = True, eos: bool = True) -> float | None:
        count, total = self.words + self.sequences, self.total_log_prob
        if not oovs:
            count, total = count - self.oov_words, self.closed_log_prob - self.oov_words_log_prob
        return self._perplexity(count, total, eos)

    def _perplexity(self, count: int, total: float, eos: bool) -> float | None:
        if not eos:
            if self.eos_log_prob is None:
                return None
            count, total = count - self.sequences, total - self.eos_log_prob
        return metrics.perplexity(total, count) if count > 0 else None


class Summing:
    """The summary of one portion of a text after another (text/portions.py).

    What is carried over within a very long sequence is kept, so its parts have to come in their
    order. engine_for gives the engine for so many tokens. Without ``unknown`` <UNK> is one symbol,
    whatever it stands for.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        engine_for: Callable[[int], Reader | Scorer],
        unknown: Unknown | None,
    ) -> None:
        self._tokenizer, self._engine_for, self._unknown = tokenizer, engine_for, unknown
        self._long: tuple[int, _LongSequence] | None = None  # and its number

    def __call__(self, portion: Portion) -> Summary:
        """The summary of a portion; it depends on no other, but for the parts of a sequence."""
        if self._unknown is not None:
            self._unknown.forget()
        if portion.part_of is not None:
            return self._part(portion, portion.part_of)
        return _of_texts(
            portion.texts, self._tokenizer, self._engine_for(portion.size), self._unknown
        )

    def _part(self, portion: Portion, number: int) -> Summary:
        """The summary of a part of a long sequence."""
        if self._long is None or self._long[0] != number:
            reader = cast(Reader, self._engine_for(portion.size))
            self._long = number, _LongSequence(self._tokenizer, reader, self._unknown)
        (text,) = portion.texts
        found = self._long[1].read(text, ends=portion.ends)
        if portion.ends:
            self._long = None
        return found


def running(summaries: Iterable[Summary], nothing: Summary) -> Iterator[Summary]:
    """The sums of all so far, again and again; of none that of ``nothing``."""
    total = nothing
    is_empty = True
    for summary in summaries:
        is_empty = False
        total += summary
        yield total
    if is_empty:
        yield total


def summarise(
    pieces: Iterable[Piece],
    tokenizer: Tokenizer,
    engine_for: Callable[[int], Reader],
    *,
    unknown: Unknown | None = None,
    mapped: Mapped = in_turn,
) -> Iterator[Summary]:
    """The summary of all sequences so far, again and again until the pieces end.

    Short sequences are scored side by side, a very long one a part at a time with the state
    carried over, so memory does not grow. See Summing for the engine and for ``unknown``.
    """
    summing = Summing(tokenizer, engine_for, unknown)
    return running(mapped(summing, in_portions(pieces)), nothing_yet(unknown))


def summarise_whole(
    pieces: Iterable[Piece],
    tokenizer: Tokenizer,
    scorer_for: Callable[[int], Scorer],
    *,
    unknown: Unknown | None,
    mapped: Mapped = in_turn,
) -> Iterator[Summary]:
    """As ``summarise``, where tokens depend on what comes after: a sequence is kept as a whole."""
    summing = Summing(tokenizer, scorer_for, unknown)
    return running(mapped(summing, in_whole_portions(pieces)), nothing_yet(unknown))


def nothing_yet(unknown: Unknown | None) -> Summary:
    """The summary of no text, to which others are added."""
    return Summary(spelling_log_prob=None if unknown is None else 0.0)


class _LongSequence:
    """A sequence that is read a part at a time."""

    def __init__(self, tokenizer: Tokenizer, engine: Reader, unknown: Unknown | None) -> None:
        self._tokenizer, self._engine, self._unknown = tokenizer, engine, unknown
        self._state: Any = None
        self._rest = ""  # what more text could cut into other tokens
        self._within_word = False

    def read(self, text: str, *, ends: bool) -> Summary:
        """The next part of the sequence, as far as it is certain which tokens it is."""
        sizes = corpus.count([text])
        goes_on = bool(text) and self._within_word and not text[0].isspace()
        words = sizes.words - goes_on  # a word over two parts is one
        if text:
            self._within_word = not text[-1].isspace()
        text, self._rest = self._rest + text, ""
        if not ends:
            text, self._rest = self._tokenizer.divide(text)
        ids = self._tokenizer.encode(text)
        if ends:
            ids = np.append(ids, np.int32(self._tokenizer.eos_id))
        log_probs, self._state = self._engine.read_on(ids, self._state)
        summary = _of_tokens([text], [ids], log_probs, self._tokenizer, self._unknown)
        return dataclasses.replace(
            summary,
            sequences=int(ends),
            characters=sizes.characters,
            bytes=sizes.bytes,
            words=words,
        )


def _of_texts(
    texts: Sequence[str], tokenizer: Tokenizer, engine: Reader | Scorer, unknown: Unknown | None
) -> Summary:
    """The summary of whole sequences, scored side by side."""
    ids = ended(tokenizer, texts)
    log_probs = engine.token_log_probs(ids)[0]
    summary = _of_tokens(texts, ids, log_probs, tokenizer, unknown)
    return dataclasses.replace(summary, **corpus.count(texts)._asdict())


def _of_tokens(
    texts: Sequence[str],
    ids: Sequence[Ids],
    log_probs: NDArray[np.float64],
    tokenizer: Tokenizer,
    unknown: Unknown | None,
) -> Summary:
    """What the tokens of texts tell: ids (N,) of each, and log P (N,) one text after another."""
    tokens = np.concatenate(ids)
    is_unknown = tokens == tokenizer.unk_id
    oov_words, of_oov_words = 0, 0.0
    spelled: list[str] = []  # together, for alone each takes longer
    ends = np.cumsum([len(one) for one in ids])
    for index in np.unique(np.searchsorted(ends, np.flatnonzero(is_unknown), side="right")):
        span = slice(ends[index] - len(ids[index]), ends[index])
        for part, values in _parts(tokenizer, texts[index], log_probs[span]):
            number, log_prob = _oov_words(tokenizer, part, values)
            oov_words += number
            of_oov_words += log_prob
            if unknown is not None:
                spelled += tokenizer.unknown(part)
    return Summary(
        tokens=len(tokens),
        oov_tokens=int(is_unknown.sum()),
        oov_words=oov_words,
        closed_log_prob=float(log_probs.sum()),
        eos_log_prob=float(log_probs[tokens == tokenizer.eos_id].sum()),
        oov_log_prob=float(log_probs[is_unknown].sum()),
        oov_words_log_prob=of_oov_words,
        spelling_log_prob=None if unknown is None else float(unknown.log_probs(spelled).sum()),
    )


def _parts(
    tokenizer: Tokenizer, text: str, log_probs: NDArray[np.float64]
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """A text part by part, each with log P of its tokens: where each token lies takes memory."""
    if len(text) <= _PART:
        yield text, log_probs
        return
    rest = ""
    for at in range(0, len(text), _PART):
        part, rest = rest + text[at : at + _PART], ""
        if at + _PART < len(text):
            part, rest = tokenizer.divide(part)
        number = len(tokenizer.encode(part))
        yield part, log_probs[:number]
        log_probs = log_probs[number:]


def _oov_words(
    tokenizer: Tokenizer, text: str, log_probs: NDArray[np.float64]
) -> tuple[int, float]:
    """How many words hold an OOV, and log P of all their tokens and of OOVs in no word.

    A token stands in the word that it begins in. From each OOV on it is looked both ways for the
    tokens of its word: most words hold none.
    """
    ids, offsets = tokenizer.encode_with_offsets(text)
    begins = [begin for begin, _ in offsets]
    number, total, done = 0, 0.0, 0  # tokens that are behind the last word
    for place in np.flatnonzero(ids == tokenizer.unk_id).tolist():
        if place < done:
            continue
        first, done = place, place + 1
        if not text[begins[place]].isspace():
            number += 1
            while first > 0 and not _SPACE.search(text, begins[first - 1], begins[first]):
                first -= 1
            while done < len(begins) and not _SPACE.search(
                text, begins[done - 1], begins[done] + 1
            ):
                done += 1
        total += float(log_probs[first:done].sum())
    return number, total


def _share(value: float, count: int) -> float | None:
    return value / count if count > 0 else None
