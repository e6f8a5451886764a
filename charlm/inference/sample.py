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
import itertools
import secrets
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from charlm.config import SamplingConfig
from charlm.engines.protocol import Arbiter, Logits, Steps
from charlm.equations.language_model import log_softmax
from charlm.errors import CharlmError, UsageError
from charlm.inference.drawing.draw import draw, num_stages
from charlm.inference.drawing.known import Knows, stands_in
from charlm.inference.drawing.lanes import Alternatives, Beginning, Lane, Lanes
from charlm.inference.unknown import Speller, unknown_of
from charlm.network_config import MANY_TYPES
from charlm.tokenizers.base import SPACING, UNK_ID, Tokenizer
from charlm.tokenizers.normalizing import folded
from charlm.tokenizers.prompt import Prompt
from charlm.tokenizers.word_chunks import UNKNOWN_WORD

BATCH_SIZE = 256
_MOST_LOGITS = 2**24  # at a time, where types are many
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

    def beside(self, others: Sequence[Knows]) -> Self:
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
        wanted = range(n) if indices is None else indices
        waiting, due = iter(wanted), iter(wanted)
        first = next(waiting, None)
        if first is None:
            return
        model = self.lane(self.begin(Prompt(self.tokenizer, prompt)), config, first)
        side = Lanes(self.decoder)
        side.add([model, *map(model.again, itertools.islice(waiting, self._room(batch_size) - 1))])
        finished: dict[int, Sample] = {}
        next_due = next(due, None)
        while side.lanes:
            tokens = self.step(side)
            leaving: list[int] = []
            renewed: dict[int, Lane] = {}
            for row, (lane, token) in enumerate(zip(side.lanes, tokens, strict=True)):
                if told:
                    is_spelled = token == self.tokenizer.unk_id and bool(lane.spelled)
                    yield Drawn(lane.index, token, lane.spelled[-1] if is_spelled else None)
                done = self.finished(lane)
                if done is None:
                    continue
                if novel and done.in_training_text:
                    renewed[row] = self._again(lane)
                    continue
                finished[done.index] = done
                following = next(waiting, None)
                if following is None:
                    leaving.append(row)
                else:
                    renewed[row] = lane.again(following)
            if renewed:
                side.put(renewed)
            side.remove(leaving)
            while next_due in finished:
                yield finished.pop(next_due)
                next_due = next(due, None)

    def _room(self, batch_size: int) -> int:
        """How many sequences are drawn side by side: of very many types fewer, for memory."""
        vocab_size = self.tokenizer.vocab_size
        if vocab_size <= MANY_TYPES:
            return batch_size
        return min(batch_size, max(1, _MOST_LOGITS // vocab_size))

    # A token at a time

    def begin(self, prompt: Prompt) -> Beginning:
        """What sequences after a prompt begin with."""
        context = [self.tokenizer.vocab_size, *prompt.begun]
        return Beginning(prompt, context, self.decoder.read(np.array(context[:-1], dtype=np.int64)))

    def begin_all(self, prompts: Sequence[Prompt]) -> list[Beginning]:
        """The same of several prompts, read side by side."""
        if len(prompts) == 1:
            return [self.begin(prompts[0])]
        contexts = [[self.tokenizer.vocab_size, *prompt.begun] for prompt in prompts]
        states = self.decoder.read_all([np.array(ids[:-1], dtype=np.int64) for ids in contexts])
        return list(map(Beginning, prompts, contexts, states))

    def lane(
        self, beginning: Beginning, config: SamplingConfig, index: int, *, top: int | None = None
    ) -> Lane:
        """Sequence number index, yet to be drawn; ``top`` alternatives are noted of its tokens.

        Raises UsageError if spelling is asked of a model that cannot spell.
        """
        self._check_unknown(config)
        stop = tuple(folded(self.tokenizer, text) for text in config.stop)
        config = dataclasses.replace(config, stop=stop)
        # At subword level <UNK> stands for nothing.
        kept = config.unknown != "resample" and self.tokenizer.level != "subword"
        banned = None if kept else self.tokenizer.unk_id
        return Lane(beginning, config, index, banned=banned, top=top)

    def step(self, side: Lanes) -> list[int]:
        """Draw the next token of each of some lanes, which are noted in them, too."""
        return side.step(self._draw)

    def _draw(self, logits: Logits, lanes: list[Lane]) -> list[int]:
        """The next token of every lane, noted in it, with what it spells."""
        unk = self.tokenizer.unk_id
        stages = range(num_stages(logits.shape[1]))
        uniform = np.array([[lane.uniform() for _ in stages] for lane in lanes])  # (B, S)
        ids: list[int] = [0] * len(lanes)
        for rows in _alike(lanes):
            config, banned = lanes[rows[0]].config, lanes[rows[0]].banned
            own = slice(None) if len(rows) == len(lanes) else np.array(rows)
            drawn = draw(logits[own], uniform[own], config, banned)
            tokens: list[int] = drawn.ids.tolist()
            log_probs: list[float] = drawn.log_probs.tolist()
            doubtful = np.flatnonzero(drawn.doubtful).tolist()
            if doubtful:
                unsure = [rows[at] for at in doubtful]
                exact = self._exact_logits([lanes[row] for row in unsure])
                again = draw(exact, uniform[unsure], config, banned)
                for at, token, log_prob in zip(doubtful, again.ids, again.log_probs, strict=True):
                    tokens[at], log_probs[at] = int(token), float(log_prob)
            for row, token, log_prob in zip(rows, tokens, log_probs, strict=True):
                lane, ids[row] = lanes[row], token
                lane.ids.append(token)
                lane.log_prob += log_prob
                if lane.top is not None:
                    lane.alternatives.append(_alternatives(logits[row], token, log_prob, lane.top))
            if config.unknown == "spell" and unk in tokens:
                assert self.speller is not None
                spelling = [lanes[row] for row in rows if ids[row] == unk]
                streams = [lane.spelling_stream() for lane in spelling]
                kinds = self.speller.draw(streams, config, self.tokenizer.is_unknown)
                for lane, kind in zip(spelling, kinds, strict=True):
                    lane.spelled.append(kind)
            elif SPACING in self.tokenizer.ignores:  # of text cut already, which has a name for it
                for row in rows:
                    lanes[row].spelled += [UNKNOWN_WORD] * (ids[row] == unk)
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

    def _exact_logits(self, lanes: list[Lane]) -> NDArray[np.float64]:
        """The log-probabilities (B, V) of the next tokens of lanes in double precision."""
        if self._arbiter is None:
            self._arbiter = self.engine.arbiter()
        for lane in lanes:
            ids = np.array(lane.beginning.context + lane.ids, dtype=np.int64)
            read, state = lane.exact
            lane.exact = (len(ids), self._arbiter.read(ids[read:], state))
        return self._arbiter.log_probs([lane.exact[1] for lane in lanes])

    def finished(self, lane: Lane) -> Sample | None:
        """The sample a lane has become, or None if it goes on."""
        prompt, config = lane.beginning.prompt, lane.config
        cut = _stop(lane) if config.stop else None
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
            seed=config.seed,
        )

    def _again(self, lane: Lane) -> Lane:
        if lane.attempt + 1 >= MOST_ATTEMPTS:
            raise CharlmError(
                f"{MOST_ATTEMPTS} attempts at a new sequence all gave one of the training text: "
                "the model has learned it by heart. Train it for less long, or raise the "
                "temperature."
            )
        return lane.again(lane.index, lane.attempt + 1)

    def stands_in_training(self, text: str) -> bool | None:
        """Whether a text is, word for word, a sequence of the training text.

        Of several models' it is one if it is one of any; else it is not known as long as one does
        not know its own.
        """
        own = stands_in(self.known, self.tokenizer, text)
        found = (own, *(other.stands_in_training(text) for other in self._others))
        return True if True in found else None if None in found else False


def _alike(lanes: list[Lane]) -> list[list[int]]:
    """The rows of lanes, those together whose tokens are drawn in one way."""
    rows: dict[object, list[int]] = {}
    for row, lane in enumerate(lanes):
        rows.setdefault(lane.way, []).append(row)
    return list(rows.values())


def _alternatives(row: Logits, token: int, log_prob: float, top: int) -> Alternatives:
    """A token that was drawn from logits (V,), and the ``top`` likeliest types."""
    log_probs = log_softmax(row.astype(np.float64))
    top = min(top, len(log_probs))
    found = np.argpartition(-log_probs, top - 1)[:top] if top else np.empty(0, dtype=np.int64)
    found = found[np.lexsort((found, -log_probs[found]))]
    named = dict(zip(found.tolist(), log_probs[found].tolist(), strict=True))
    if token in named:
        named[token] = log_prob  # the same but for rounding
    return Alternatives(log_prob, named)


def _stop(lane: Lane) -> str | None:
    """What was drawn before the first stop string, or None if there is none in it.

    First the last tokens alone are looked at: a token has at least a byte.
    """
    prompt, stops = lane.beginning.prompt, lane.config.stop
    near = lane.ids[-4 * max(map(len, stops)) - 4 :]
    unknown = near.count(UNK_ID)
    spelled = lane.spelled[len(lane.spelled) - unknown :]
    if not any(stop in prompt.continuation(near, spelled) for stop in stops):
        return None
    text = prompt.continuation(lane.ids, lane.spelled)
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(found)] if found else None  # within the prompt it does not count
