"""The choices of a completion as they grow: their text, and log-probabilities of their tokens.

The texts of a choice's tokens, one after another, are its text; one that has no text of its own
(<EOS>, a byte of a character) goes by the name that the tokenizer shows.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from charlm.engines.protocol import Engine
from charlm.inference.drawing.lanes import Alternatives
from charlm.inference.stream import Settling
from charlm.serving.jobs import Progress
from charlm.tokenizers.base import EOS_PIECE, UNK_PIECE, UNK_TEXT, Tokenizer
from charlm.tokenizers.prompt import Prompt

_LEAST = -9999.0  # in place of minus infinity, which JSON does not have
FINISHED = {"eos": "stop", "stop": "stop", "max_tokens": "length"}


class Names:
    """What types are called after others: the text that they add."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.of = functools.lru_cache(4096)(self._of)

    def _of(self, before: int | None, token: int) -> str:
        """What a type is called behind another."""
        if token == self._tokenizer.eos_id:
            return EOS_PIECE
        if token == self._tokenizer.unk_id:
            return UNK_PIECE
        begun = [] if before is None else [before]
        text = self._tokenizer.decode([*begun, token])[len(self._tokenizer.decode(begun)) :]
        return text if text and UNK_TEXT not in text else self.piece(token)

    def piece(self, token: int) -> str:
        """A type as the tokenizer shows it."""
        return self._tokenizer.pieces([token])[0]

    def entry(
        self, before: int | None, token: int, text: str, offset: int, told: Alternatives
    ) -> "Entry":
        """A token that stands behind another, by its text or, where it has none, by its name."""
        shown = text or self.piece(token)
        top: dict[str, float] = {}
        for other, log_prob in sorted(told.top.items(), key=lambda one: -one[1]):
            name = shown if other == token else self.of(before, other)
            top.setdefault(name, max(log_prob, _LEAST))
        top[shown] = log_prob = max(told.log_prob, _LEAST)
        return Entry(shown, offset, len(text), log_prob, top)


class Entry(NamedTuple):
    """A token of a choice: its text, where that begins, log P, and log P of the likeliest there.

    length is how much of the choice's text it is; a token without text has a name in its place.
    """

    text: str
    offset: int
    length: int
    log_prob: float
    top: dict[str, float]


class Choice:
    """One choice: a prompt, and what is drawn after it.

    With ``echo`` the prompt is a part of its text. Log-probabilities are told by the ``names`` of
    types, where there are any; ``echoed`` are those of the prompt.
    """

    def __init__(
        self,
        prompt: Prompt,
        stops: Sequence[str] = (),
        *,
        echo: bool = False,
        names: Names | None = None,
        echoed: Sequence[Entry] = (),
    ) -> None:
        self._names = names
        self._settling = Settling(prompt, stops)
        self._length = len(prompt.text)
        self._offset = self._begin = self._length if echo else 0  # in the text
        self._before = prompt.begun[-1] if prompt.begun else None
        self._unk_id = prompt.tokenizer.unk_id
        self._text = prompt.text if echo else ""  # both yet to be told
        self._entries = list(echoed)
        self.finish_reason: str | None = None
        self.label: str | None = None
        self.num_tokens = 0

    def add(self, progress: Progress) -> None:
        """Take in what has been drawn."""
        is_first = not self.num_tokens
        self.num_tokens += len(progress.ids)
        self.label = progress.label
        sample = progress.sample
        if self._names is None and sample is not None and is_first:
            self._text += sample.text[self._length :]  # the whole is all that is asked for
        elif self._names is None:
            self._text += self._settling.add_all(progress.ids, progress.spelled)
        else:
            spelled = iter(progress.spelled)
            for token, told in zip(progress.ids, progress.alternatives, strict=True):
                kind = next(spelled, None) if token == self._unk_id else None
                self._text += self._settling.add(token, kind)
                self._note(token, told, self._names)
        if sample is not None and not (self._names is None and is_first):
            self._text += self._settling.rest(sample.text)
        if sample is not None:
            self.finish_reason = FINISHED[sample.ended]
            if sample.ended == "stop":
                self._cut(self._begin + len(sample.text) - self._length)

    def fragment(self) -> dict[str, Any]:
        """What has come since the last one, as JSON."""
        found: dict[str, Any] = {"text": self._text, "logprobs": None}
        self._text = ""
        if self._names is not None:
            ready = len(self._entries)
            if self.finish_reason is None:  # what is held back may yet be cut off
                settled = self._begin + self._settling.shown
                ready = sum(one.offset < settled for one in self._entries)
            found["logprobs"] = logprobs_fields(self._entries[:ready])
            del self._entries[:ready]
        found["finish_reason"] = self.finish_reason
        return found if self.label is None else {**found, "label": self.label}

    def _note(self, token: int, told: Alternatives, names: Names) -> None:
        text = self._settling.last
        self._entries.append(names.entry(self._before, token, text, self._offset, told))
        self._offset += len(text)
        self._before = token

    def _cut(self, end: int) -> None:
        """Leave out the tokens of a stop string, which is no part of the text."""
        kept = [one for one in self._entries if one.offset < end]
        if kept and (beyond := kept[-1].offset + kept[-1].length - end) > 0:
            kept[-1] = kept[-1]._replace(text=kept[-1].text[:-beyond])
        self._entries = kept


def prompt_entries(prompt: Prompt, scored: Sequence[Alternatives], names: Names) -> list[Entry]:
    """The tokens of a prompt as they stand in it."""
    entries, before, end = [], None, 0
    for token, until, told in zip(prompt.ids, ends_of(prompt), scored, strict=True):
        entries.append(names.entry(before, token, prompt.text[end:until], end, told))
        before = None if token == prompt.tokenizer.eos_id else token
        end = until
    return entries


def ends_of(prompt: Prompt) -> list[int]:
    """Where the text of each token of a prompt ends in it."""
    for text in (prompt.text, prompt.text[:-1]):  # its last space may be left to what follows
        ids, ranges = prompt.tokenizer.encode_with_offsets(text)
        if ids.tolist() == prompt.ids:
            return [end for _, end in ranges]
    return [end for _, end in prompt.tokenizer.decode_with_offsets(prompt.ids)[1]]


def logprobs_fields(entries: Sequence[Entry]) -> dict[str, Any]:
    """Tokens and their log-probabilities (nats), as completions tell them."""
    return {
        "tokens": [one.text for one in entries],
        "token_logprobs": [one.log_prob for one in entries],
        "top_logprobs": [one.top for one in entries],
        "text_offset": [one.offset for one in entries],
    }


def read(
    engine: Engine, eos_id: int, prompts: Sequence[Sequence[int]], top: int
) -> list[list[Alternatives]]:
    """log P of each token of prompts, and the ``top`` likeliest types at its place.

    The first token has its own: it is drawn after the zero vector. An <EOS> ends a sequence, and
    what follows it begins another.
    """
    sequences: list[np.ndarray] = []
    for ids in prompts:
        array = np.array(ids, dtype=np.int64)
        parts = np.split(array, np.flatnonzero(array == eos_id) + 1)
        sequences += [part for part in parts if len(part)]
    if not sequences:
        return [[] for _ in prompts]
    targets = np.concatenate(sequences)
    found: list[Alternatives] = [Alternatives(0.0, {})] * len(targets)
    if not top:
        log_probs, _ = engine.token_log_probs(sequences)
        found = [Alternatives(log_prob, {}) for log_prob in log_probs.tolist()]
    else:
        for places, predicted in engine.predictions(sequences):
            most = min(top, predicted.shape[1])
            best = np.argpartition(-predicted, most - 1, axis=1)[:, :most]
            values = np.take_along_axis(predicted, best, axis=1).astype(np.float64)
            chosen = predicted[np.arange(len(places)), targets[places]].astype(np.float64)
            rows = zip(
                places.tolist(), chosen.tolist(), best.tolist(), values.tolist(), strict=True
            )
            for place, log_prob, types, likely in rows:
                found[place] = Alternatives(log_prob, dict(zip(types, likely, strict=True)))
    ends = np.cumsum([len(ids) for ids in prompts])
    return [found[end - len(ids) : end] for ids, end in zip(prompts, ends.tolist(), strict=True)]
