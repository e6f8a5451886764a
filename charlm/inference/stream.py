"""A sample as it is drawn, in fragments that are never taken back.

What is not settled yet is held back: the bytes of half a character, and whatever could be the
beginning of a stop string.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from charlm.config import SamplingConfig
from charlm.inference.alternate import TurnSampler
from charlm.inference.sample import Sample, Sampler
from charlm.tokenizers.normalizing import folded
from charlm.tokenizers.prompt import Prompt


class Fragment(NamedTuple):
    """What a sequence goes on with; the last one of each brings the sample as a whole.

    The fragments of a sequence, one after another, are its text; the prompt is the first of them.
    """

    text: str
    sample: Sample | None = None


def fragments(
    sampler: Sampler | TurnSampler,
    n: int,
    config: SamplingConfig,
    *,
    prompt: str = "",
    indices: Sequence[int] | None = None,
) -> Iterator[Fragment]:
    """Draw n sequences, or those of the ``indices``, one after another, and yield each as it comes.

    Raises what ``Sampler.sample`` does.
    """
    if isinstance(sampler, TurnSampler):
        yield from _by_turns(sampler, n, config, prompt, range(n) if indices is None else indices)
        return
    begun = Prompt(sampler.tokenizer, prompt)
    growing = None
    for one in sampler.tokens(n, config, prompt=prompt, indices=indices):
        if growing is None:
            yield Fragment(prompt)
            growing = Settling(begun, config.stop)
        if isinstance(one, Sample):
            yield Fragment(growing.rest(one.text), one)
            growing = None
        elif text := growing.add(one.token_id, one.spelled):
            yield Fragment(text)


class Settling:
    """The text that tokens add to a prompt, as far as it is settled.

    shown is how many characters that are; last is what the last token brought, settled or not.
    """

    def __init__(self, prompt: Prompt, stops: Sequence[str]) -> None:
        self._prompt = prompt
        self._stops = [folded(prompt.tokenizer, stop) for stop in stops]
        self._growing = prompt.growing()
        self._held = ""  # what could begin a stop string
        self.shown = 0
        self.last = ""

    def add(self, token_id: int, spelled: str | None) -> str:
        """What another token, an <UNK> that spells ``spelled``, settles of the text."""
        return self._settle(self._growing.add(token_id, spelled))

    def add_all(self, ids: Sequence[int], spelled: Sequence[str]) -> str:
        """What further tokens settle together, which is quicker than one by one."""
        return self._settle(self._growing.add_all(ids, spelled))

    def _settle(self, text: str) -> str:
        self.last = text
        held = self._held + text
        until = len(held) - max((held_back(held, stop) for stop in self._stops), default=0)
        self._held = held[until:]
        self.shown += until
        return held[:until]

    def rest(self, text: str) -> str:
        """What is left of the whole text, once it has ended."""
        return text[len(self._prompt.text) + self.shown :]


def _by_turns(
    sampler: TurnSampler, n: int, config: SamplingConfig, prompt: str, indices: Sequence[int]
) -> Iterator[Fragment]:
    turns = sampler.turns(indices, config.seed)
    drawing = []
    for k, one in enumerate(sampler.samplers):
        own = [index for index, turn in turns.items() if turn == k]
        drawing.append(fragments(one, n, config, prompt=prompt, indices=own))
    for k in turns.values():
        for fragment in drawing[k]:
            if fragment.sample is None:
                yield fragment
                continue
            yield Fragment(fragment.text, dataclasses.replace(fragment.sample, drawn_by=k))
            break


def held_back(text: str, stop: str) -> int:
    """How many characters at the end of text could be the beginning of stop, or are all of it."""
    if stop in text:
        return len(text) - text.index(stop)
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
