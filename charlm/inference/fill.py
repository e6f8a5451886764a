"""Filling gaps: what may stand where a text has ``[?]``, by a bidirectional model.

``[?]`` is a gap of one token, ``[?5]`` of five. A backslash before it makes it plain text; two
backslashes there are one, and the gap is a gap.

A gap is filled from left to right. At each of its places the forward stack has read all that
stands before it, what has been filled in among that, and the backward stack what is known after
the gap, up to the next one; the tokens of the gap that are yet to come are read by neither, and
the model is told how many they are. So

    P(filling) = Πk P(token k of n given what stands before, tokens 1 … k-1, what comes after n-k)

and the probabilities of all fillings add up to 1. The best are found by beam search: exactly
where one token is missing, and nearly always where more are. <EOS> cannot stand in a gap; <UNK> is
left out, unless it is asked for, and what is left is made to add up to 1. Letters: B beams, V
vocabulary.
"""

import dataclasses
import math
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.engines.numpy_cloze import NumpyCloze
from charlm.equations import language_model
from charlm.errors import TextError, UsageError
from charlm.tokenizers.base import UNK_TEXT, Tokenizer
from charlm.tokenizers.ids import IdArray

MOST_TOKENS = 1000  # that are missing in a text
_BEAMS = 64  # at least: fillings that are looked at side by side
_GAP = re.compile(r"(?<!\\)(\\*)\[\?([0-9]*)\]")  # which sees each backslash but once
_STAND_IN = "x"  # a word in the place of a missing one, while a text is cut into words


class Filling(NamedTuple):
    """A way to fill the gaps of a text; rank 1 is the likeliest.

    text is the whole text, gaps what stands in each gap and pieces the tokens there; log_prob, in
    nats, is that of all of them.
    """

    text: str
    gaps: tuple[str, ...]
    pieces: tuple[tuple[str, ...], ...]
    log_prob: float
    rank: int

    @property
    def probability(self) -> float:
        """exp(log_prob)."""
        return math.exp(self.log_prob)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fillings:
    """The likeliest ways to fill the gaps of a text, which have so many tokens.

    num_oov tokens of what is known are <UNK>.
    """

    text: str
    lengths: tuple[int, ...]
    num_oov: int
    entries: tuple[Filling, ...]


class Gapped(NamedTuple):
    """A text with K gaps: the ids between them, <EOS> behind the last, and tokens of each gap.

    unknown is what stands for <UNK> in each of the K + 1 parts.
    """

    parts: tuple[IdArray, ...]
    lengths: tuple[int, ...]
    unknown: tuple[list[str], ...]


def split_gaps(text: str) -> tuple[list[str], list[int]]:
    """The K + 1 parts of a text between its gaps, escapes undone, and the tokens of each gap.

    Raises TextError for a gap of no token or of too many.
    """
    parts, lengths, part, at = [], [], "", 0
    for match in _GAP.finditer(text):
        backslashes, number = match.groups()
        part += text[at : match.start()] + "\\" * (len(backslashes) // 2)
        at = match.end()
        if len(backslashes) % 2:
            part += match[0][len(backslashes) :]
            continue
        length = int(number[:9]) if number else 1
        lengths.append(length)
        if length < 1 or sum(lengths) > MOST_TOKENS:
            raise TextError(
                f"gaps have from 1 to {MOST_TOKENS} tokens in all, [?{number[:9]}] among them."
            )
        parts.append(part)
        part = ""
    return [*parts, part + text[at:]], lengths


def with_gap(before: str, length: int, after: str) -> str:
    """A text with one gap of so many tokens; what looks like a gap in the two sides is plain."""
    sides = [
        _GAP.sub(lambda found: f"{2 * found[1]}\\{found[0][len(found[1]) :]}", side)
        for side in (before, after)
    ]
    last = len(before) - len(before.rstrip("\\"))
    return sides[0] + "\\" * last + f"[?{length}]" + sides[1]


def cut(tokenizer: Tokenizer, text: str) -> Gapped:
    """The ids of a text with gaps. Raises TextError if it has none, or one within a word."""
    parts, lengths = split_gaps(text)
    if not lengths:
        raise TextError(
            "there is no gap in the text: write [?] where a token is missing, [?5] for five."
        )
    if tokenizer.level == "word":
        return _cut_words(tokenizer, parts, lengths)
    # What comes after a gap begins where the gap ends; a space before it may be its first token's.
    ids = [*map(tokenizer.encode_prompt, parts[:-1]), tokenizer.encode(parts[-1])]
    ids[-1] = np.append(ids[-1], np.int32(tokenizer.eos_id))
    return Gapped(tuple(ids), tuple(lengths), tuple(map(tokenizer.unknown, parts)))


def _cut_words(tokenizer: Tokenizer, parts: list[str], lengths: list[int]) -> Gapped:
    """The same of words: how a token is joined to its neighbours depends on them."""
    whole, spans = parts[0], []
    for part, length in zip(parts[1:], lengths, strict=True):
        for word in range(length):
            whole += " " if word else ""
            spans.append((len(whole), len(whole) + len(_STAND_IN)))
            whole += _STAND_IN
        whole += part
    ids, offsets = tokenizer.encode_with_offsets(whole)
    at = {span: index for index, span in enumerate(offsets)}
    if not all(span in at for span in spans):
        raise TextError(
            "a gap of a word model stands for whole words: put a space between it and a word."
        )
    places = [at[span] for span in spans]
    missing = np.zeros(len(ids), dtype=bool)
    missing[places] = True
    unknown = iter(tokenizer.unknown(whole))
    kinds = [next(unknown) if token == tokenizer.unk_id else None for token in ids.tolist()]
    ids = np.append(ids, np.int32(tokenizer.eos_id))
    found, of_parts, begin, done = [], [], 0, 0
    for length in (*lengths, 0):
        end = places[done] if length else len(ids)
        found.append(ids[begin:end])
        of_parts.append([kind for kind in kinds[begin:end] if kind is not None])
        begin, done = end + length, done + length
    return Gapped(tuple(found), tuple(lengths), tuple(of_parts))


def fill(
    cloze: NumpyCloze,
    tokenizer: Tokenizer,
    text: str,
    *,
    top: int = 10,
    keep_unknown: bool = False,
    is_whole: bool = True,
) -> Fillings:
    """The ``top`` likeliest fillings of a text's gaps, <UNK> among them with ``keep_unknown``.

    A text that ``is_whole`` is a sequence and ends where it ends; an excerpt goes on, unknown how.
    Raises TextError for a text without gaps, UsageError if top is below 1.
    """
    if top < 1:
        raise UsageError(f"top must be 1 or more, got {top}.")
    gapped = cut(tokenizer, text)
    never = [tokenizer.eos_id] if keep_unknown else [tokenizer.unk_id, tokenizer.eos_id]
    ids, log_probs = _search(cloze, gapped, top, never, is_whole)
    order = np.argsort(-log_probs, kind="stable")
    ranks = np.searchsorted(-log_probs[order], -log_probs[order]) + 1
    entries = [
        _filling(tokenizer, gapped, ids[row], float(log_probs[row]), rank)
        for row, rank in zip(order.tolist(), ranks.tolist(), strict=True)
    ]
    num_oov = sum(int((part == tokenizer.unk_id).sum()) for part in gapped.parts)
    return Fillings(text=text, lengths=gapped.lengths, num_oov=num_oov, entries=tuple(entries))


def _search(
    cloze: NumpyCloze, gapped: Gapped, top: int, never: list[int], is_whole: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The best fillings, the tokens of all gaps (B, N) one after another, and log P (B,)."""
    state = cloze.before(gapped.parts[0])
    ids, scores = np.empty((1, 0), dtype=np.int64), np.zeros(1)
    left = sum(gapped.lengths)
    for index, length in enumerate(gapped.lengths):
        known = _next_known(gapped, index)
        is_last = known == len(gapped.parts) - 1
        right = gapped.parts[known]
        right = right[:-1] if is_last and not is_whole else right  # without <EOS>
        after = cloze.after(right, ends=is_last and is_whole)
        missing = sum(gapped.lengths[index:known])
        for _ in range(length):
            left, missing = left - 1, missing - 1
            log_probs = cloze.predict(state, after, missing)  # (B, V)
            log_probs[:, never] = -np.inf
            totals = (scores[:, None] + language_model.log_softmax(log_probs)).reshape(-1)
            rows, tokens = _best(totals, log_probs.shape, max(top, _BEAMS) if left else top)
            scores = totals[rows * log_probs.shape[1] + tokens]
            ids = np.column_stack((ids[rows], tokens))
            if left:
                state = cloze.step(tokens, cloze.select(state, rows))
        if left:
            for token in gapped.parts[index + 1].tolist():
                state = cloze.step(np.full(len(ids), token), state)
    return ids, scores


def _best(
    totals: NDArray[np.float64], shape: tuple[int, ...], number: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the largest totals (B * V,), the largest first."""
    number = min(number, int(np.isfinite(totals).sum()))
    found = np.argpartition(-totals, number - 1)[:number]
    found = found[np.lexsort((found, -totals[found]))]
    rows, columns = np.unravel_index(found, shape)
    return rows.astype(np.int64), columns.astype(np.int64)


def _next_known(gapped: Gapped, index: int) -> int:
    """The part that comes after a gap. Gaps that touch are as one: it comes after the last."""
    return next(k for k in range(index + 1, len(gapped.parts)) if len(gapped.parts[k]))


def _filling(
    tokenizer: Tokenizer, gapped: Gapped, tokens: IdArray, log_prob: float, rank: int
) -> Filling:
    filled = np.split(tokens, np.cumsum(gapped.lengths)[:-1])
    ids: list[int] = []
    unknown: list[str] = []
    no_spelling = f"0{UNK_TEXT}" if tokenizer.level == "word" else UNK_TEXT
    gaps = [*(gap.tolist() for gap in filled), []]
    for part, kinds, gap in zip(gapped.parts, gapped.unknown, gaps, strict=True):
        ids += [*part.tolist(), *gap]
        unknown += [*kinds, *[no_spelling] * gap.count(tokenizer.unk_id)]
    return Filling(
        text=tokenizer.decode(ids, unknown),
        gaps=tuple(map(tokenizer.decode, filled)),
        pieces=tuple(tuple(tokenizer.pieces(gap)) for gap in filled),
        log_prob=log_prob,
        rank=rank,
    )
