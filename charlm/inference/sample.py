"""Drawing sequences from a model, many at a time.

Sequence number i draws its uniform numbers from a stream of its own, made from (seed, i), so it
does not depend on how many others are drawn beside it. What remains is rounding: in another batch
the same probabilities differ in their last digits. Where a uniform number falls so near a
boundary that this could matter, the step is done again in double precision by the engine's
arbiter, for a network the readable equations (equations/language_model.py), and so the same seed
gives the same text, alone or in a batch. What an <UNK> spells is drawn in double precision,
from a stream made from (seed, i) and its place.
"""

import copy
import dataclasses
import functools
import itertools
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from charlm.config import SamplingConfig
from charlm.engines.protocol import Arbiter, Steps
from charlm.errors import CharlmError, UsageError
from charlm.inference.draw import draw, num_stages
from charlm.inference.unknown import Speller, unknown_of
from charlm.text.corpus import sequence_hash
from charlm.tokenizers.base import SPACING, Tokenizer
from charlm.tokenizers.normalizing import folded
from charlm.tokenizers.prompt import Prompt
from charlm.tokenizers.word_chunks import UNKNOWN_WORD

BATCH_SIZE = 256
MOST_ATTEMPTS = 100  # at a sequence that is not in the training text


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """A drawn sequence.

    text holds the prompt too. total_log_prob (nats) is that of the drawn tokens under the model
    itself: temperature 1, nothing masked, <EOS> included where it was drawn; where <UNK> was
    spelled, the spelling is in it, and it is what scoring the text gives. num_unknown of the
    num_tokens drawn are <UNK>. ended is ``eos``, ``stop`` or ``max_tokens``. in_training_text is
    None where the model does not know its training sequences. seed is the one it was drawn with:
    with it, all else being the same, sequence number index is drawn again. drawn_by is the number
    of the model that drew it, where several do by turns.
    """

    index: int
    text: str
    total_log_prob: float
    num_tokens: int
    num_unknown: int
    ended: str
    in_training_text: bool | None
    seed: int
    drawn_by: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Drawn:
    """A token of sequence number index; of an <UNK> also the type that it spells."""

    index: int
    token_id: int
    spelled: str | None


def fresh_seed() -> int:
    """A seed from the operating system, short enough to be typed."""
    return secrets.randbelow(10**9)


class _Lane:
    """A sequence being drawn: what has been drawn of it and its streams of uniform numbers.

    spelled is what the <UNK> among its ids stand for, in order, where they are spelled.
    """

    def __init__(self, index: int, seed: int, attempt: int = 0) -> None:
        self.index = index
        self.attempt = attempt
        self.ids: list[int] = []
        self.spelled: list[str] = []
        self.log_prob = 0.0
        self.key = (seed, index, attempt)
        self.uniform = np.random.default_rng(self.key).random
        self.exact: tuple[int, Any] = (0, None)  # how much the arbiter has read, and its state

    def spelling_stream(self) -> Callable[[], float]:
        """The uniform numbers for what the last token spells."""
        key = np.random.SeedSequence(self.key, spawn_key=(len(self.ids),))
        return np.random.default_rng(key).random


class Sampler:
    """Draws from one model.

    ``known`` are the hashes (S,) of its training sequences, sorted; ``speller`` is that of a word
    model, needed to invent words.
    """

    def __init__(
        self,
        engine: Steps,
        tokenizer: Tokenizer,
        known: NDArray[np.uint64] | None = None,
        speller: Speller | None = None,
    ) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self.known = known
        self._others: tuple[Knows, ...] = ()
        self.speller = speller
        self.decoder = engine.decoder()
        self._arbiter: Arbiter | None = None

    def beside(self, others: Sequence["Knows"]) -> Self:
        """The same, as one of several: their training texts count as its own does."""
        found = copy.copy(self)
        found._others = tuple(others)
        return found

    def sample(
        self,
        n: int,
        config: SamplingConfig,
        *,
        prompt: str = "",
        novel: bool = False,
        indices: Sequence[int] | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> Iterator[Sample]:
        """Draw n sequences, or those of the ``indices``, ascending, and yield them in order.

        At most batch_size are drawn side by side; one that has ended makes room for the next.
        With ``novel``, one that stands in the training text is drawn again.

        Raises UsageError if novelty is asked of a model that does not know its training text, or
        spelling of one that cannot spell; CharlmError if after 100 attempts a sequence still
        stands in the training text.
        """
        drawing = self._draw_all(n, config, prompt, novel, indices, batch_size, told=False)
        return (one for one in drawing if isinstance(one, Sample))

    def tokens(
        self,
        n: int,
        config: SamplingConfig,
        *,
        prompt: str = "",
        novel: bool = False,
        indices: Sequence[int] | None = None,
        batch_size: int = 1,
    ) -> Iterator["Drawn | Sample"]:
        """The same with every token when it is drawn; after its last one a sequence as a whole."""
        return self._draw_all(n, config, prompt, novel, indices, batch_size, told=True)

    def _draw_all(
        self,
        n: int,
        config: SamplingConfig,
        prompt: str,
        novel: bool,
        indices: Sequence[int] | None,
        batch_size: int,
        *,
        told: bool,
    ) -> Iterator["Drawn | Sample"]:
        if novel and self.stands_in_training("") is None:
            raise UsageError(
                "this model cannot tell what is novel: it was trained on whole files, not on lines "
                "or paragraphs."
            )
        self._check_unknown(config)
        stop = tuple(folded(self.tokenizer, text) for text in config.stop)
        config = dataclasses.replace(config, stop=stop)
        begun = Prompt(self.tokenizer, prompt)
        context = [self.tokenizer.vocab_size, *begun.ids]
        first, start = context[-1], self.decoder.read(np.array(context[:-1], dtype=np.int64))
        wanted = range(n) if indices is None else indices
        waiting, due = iter(wanted), iter(wanted)
        lanes = [_Lane(i, config.seed) for i in itertools.islice(waiting, batch_size)]
        inputs = np.full(len(lanes), first, dtype=np.int64)
        state = self.decoder.select(start, np.zeros(len(lanes), dtype=np.int64))
        finished: dict[int, Sample] = {}
        next_due = next(due, None)
        while lanes:
            logits, state = self.decoder.step(inputs, state)
            tokens = self._draw(logits, lanes, context, config)
            del logits  # so that the next ones come where they were: fresh memory is slow
            leaving: list[int] = []
            renewed: list[int] = []
            for row, (lane, token) in enumerate(zip(lanes, tokens, strict=True)):
                if told:
                    is_spelled = token == self.tokenizer.unk_id and bool(lane.spelled)
                    yield Drawn(lane.index, token, lane.spelled[-1] if is_spelled else None)
                inputs[row] = token
                done = self._finish(lane, config, begun)
                if done is None:
                    continue
                if novel and done.in_training_text:
                    lanes[row] = self._again(lane, config.seed)
                else:
                    finished[done.index] = done
                    following = next(waiting, None)
                    if following is None:
                        leaving.append(row)
                        continue
                    lanes[row] = _Lane(following, config.seed)
                inputs[row] = first
                renewed.append(row)
            if renewed:
                self.decoder.restart(state, np.array(renewed), start)
            if leaving:
                kept = np.delete(np.arange(len(lanes)), leaving)
                lanes = [lanes[row] for row in kept]
                inputs = inputs[kept]
                state = self.decoder.select(state, kept)
            while next_due in finished:
                yield finished.pop(next_due)
                next_due = next(due, None)

    def _draw(
        self,
        logits: NDArray[np.float32],
        lanes: list[_Lane],
        context: list[int],
        config: SamplingConfig,
    ) -> list[int]:
        """The next token of every lane, noted in it, with what it spells."""
        unk = self.tokenizer.unk_id
        # At subword level <UNK> stands for nothing.
        kept = config.unknown != "resample" and self.tokenizer.level != "subword"
        banned = None if kept else unk
        stages = range(num_stages(logits.shape[1]))
        uniform = np.array([[lane.uniform() for _ in stages] for lane in lanes])  # (B, S)
        drawn = draw(logits, uniform, config, banned)
        ids: list[int] = drawn.ids.tolist()
        log_probs: list[float] = drawn.log_probs.tolist()
        doubtful = np.flatnonzero(drawn.doubtful)
        if len(doubtful):
            exact = self._exact_logits([lanes[row] for row in doubtful], context)
            again = draw(exact, uniform[doubtful], config, banned)
            for row, token, log_prob in zip(doubtful, again.ids, again.log_probs, strict=True):
                ids[row], log_probs[row] = int(token), float(log_prob)
        for lane, token, log_prob in zip(lanes, ids, log_probs, strict=True):
            lane.ids.append(token)
            lane.log_prob += log_prob
        if config.unknown == "spell" and unk in ids:
            assert self.speller is not None
            spelling = [lane for lane in lanes if lane.ids[-1] == unk]
            streams = [lane.spelling_stream() for lane in spelling]
            kinds = self.speller.draw(streams, config, self.tokenizer.is_unknown)
            for lane, kind in zip(spelling, kinds, strict=True):
                lane.spelled.append(kind)
        elif SPACING in self.tokenizer.ignores:  # of text cut already, which has a name for it
            for lane in lanes:
                lane.spelled += [UNKNOWN_WORD] * (lane.ids[-1] == unk)
        return ids

    def _check_unknown(self, config: SamplingConfig) -> None:
        """Raise UsageError if <UNK> is to be spelled and cannot be."""
        if config.unknown != "spell" or self.tokenizer.level == "subword":
            return
        if self.tokenizer.level == "char":
            raise UsageError(
                "a character model has nothing to spell <UNK> with: it could be any of a million "
                "characters. Take resample, or keep to see where it comes."
            )
        if self.speller is None:
            raise UsageError(
                "this model has no speller to invent words with. Take resample or keep, or train "
                "it anew."
            )

    def _exact_logits(self, lanes: list[_Lane], context: list[int]) -> NDArray[np.float64]:
        """The log-probabilities (B, V) of the next tokens of lanes in double precision."""
        if self._arbiter is None:
            self._arbiter = self.engine.arbiter()
        for lane in lanes:
            ids = np.array(context + lane.ids, dtype=np.int64)
            read, state = lane.exact
            lane.exact = (len(ids), self._arbiter.read(ids[read:], state))
        return self._arbiter.log_probs([lane.exact[1] for lane in lanes])

    def _finish(self, lane: _Lane, config: SamplingConfig, prompt: Prompt) -> Sample | None:
        """The sample a lane has become, or None if it goes on."""
        cut = self._stop(lane, config.stop, prompt) if config.stop else None
        if lane.ids[-1] == self.tokenizer.eos_id:
            ended = "eos"
        elif cut is not None:
            ended = "stop"
        elif len(lane.ids) >= config.max_tokens:
            ended = "max_tokens"
        else:
            return None
        text = prompt.text + (prompt.continuation(lane.ids, lane.spelled) if cut is None else cut)
        log_prob = lane.log_prob
        if lane.spelled and (unknown := unknown_of(self.tokenizer, self.speller)) is not None:
            log_prob += float(unknown.log_probs(lane.spelled).sum())
        return Sample(
            index=lane.index,
            text=text,
            total_log_prob=log_prob,
            num_tokens=len(lane.ids),
            num_unknown=lane.ids.count(self.tokenizer.unk_id),
            ended=ended,
            in_training_text=self.stands_in_training(text),
            seed=lane.key[0],
        )

    def _stop(self, lane: _Lane, stops: tuple[str, ...], prompt: Prompt) -> str | None:
        """What was drawn before the first stop string, or None if there is none in it.

        First the last tokens alone are looked at: a token has at least a byte.
        """
        near = lane.ids[-4 * max(map(len, stops)) - 4 :]
        spelled = lane.spelled[len(lane.spelled) - near.count(self.tokenizer.unk_id) :]
        if not any(stop in prompt.continuation(near, spelled) for stop in stops):
            return None
        text = prompt.continuation(lane.ids, lane.spelled)
        found = [at for stop in stops if (at := text.find(stop)) >= 0]
        return text[: min(found)] if found else None  # within the prompt it does not count

    def _again(self, lane: _Lane, seed: int) -> _Lane:
        if lane.attempt + 1 >= MOST_ATTEMPTS:
            raise CharlmError(
                f"{MOST_ATTEMPTS} attempts at a new sequence all gave one of the training text: "
                "the model has learned it by heart. Train it for less long, or raise the "
                "temperature."
            )
        return _Lane(lane.index, seed, lane.attempt + 1)

    def stands_in_training(self, text: str) -> bool | None:
        """Whether a text is, word for word, a sequence of the training text.

        Of several models' it is one if it is one of any; else it is not known as long as one does
        not know its own.
        """
        own = stands_in(self.known, self.tokenizer, text)
        found = (own, *(other.stands_in_training(text) for other in self._others))
        return True if True in found else None if None in found else False


class Knows(Protocol):
    """What can tell whether a text is a sequence of its training text."""

    def stands_in_training(self, text: str) -> bool | None:
        """Whether it is; None if that is not known."""


def united(known: Iterable[NDArray[np.uint64] | None]) -> NDArray[np.uint64] | None:
    """The hashes (S,), sorted, that are in any of some; None if one of them is not known."""
    found = list(known)
    hashes = [one for one in found if one is not None]
    return functools.reduce(np.union1d, hashes) if len(hashes) == len(found) else None


def stands_in(known: NDArray[np.uint64] | None, tokenizer: Tokenizer, text: str) -> bool | None:
    """Whether a text, normalised, has one of the hashes (S,), sorted; None without any."""
    if known is None:
        return None
    hashed = np.uint64(sequence_hash(tokenizer.normalise(text)))
    at = int(np.searchsorted(known, hashed))
    return at < len(known) and bool(known[at] == hashed)
