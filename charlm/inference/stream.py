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
    stops = [folded(sampler.tokenizer, stop) for stop in config.stop]
    begun = Prompt(sampler.tokenizer, prompt)
    growing = None
    held = ""  # what could begin a stop string
    shown = 0  # characters of what was drawn
    for one in sampler.tokens(n, config, prompt=prompt, indices=indices):
        if isinstance(one, Sample):
            yield Fragment(one.text[len(prompt) + shown :], one)
            growing, held, shown = None, "", 0
            continue
        if growing is None:
            yield Fragment(prompt)
            growing = begun.growing()
        held += growing.add(one.token_id, one.spelled)
        until = len(held) - max((held_back(held, stop) for stop in stops), default=0)
        if until > 0:
            yield Fragment(held[:until])
            held, shown = held[until:], shown + until


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
