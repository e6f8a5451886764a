"""Laws of sequences side by side: whatever enters and leaves beside one, it is what it is alone."""

import random
from typing import Any

import numpy as np
import pytest

import charlm
from charlm.config import SamplingConfig
from charlm.inference.drawing.lanes import Lanes
from charlm.inference.sample import Sample, Sampler
from charlm.models.language_model import LanguageModel
from charlm.tokenizers.prompt import Prompt
from tests.support.serving import GOLDEN

PROMPTS = ("", "T", "The apple and the pear ate", "a salad. " * 9, "é東")
WAYS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0.0},
    {"temperature": 1.7, "top_k": 5},
    {"top_p": 0.6},
    {"temperature": 0.4, "unknown": "keep"},
    {"stop": ("e", " a")},
)


def model_of(name: str) -> tuple[LanguageModel, Sampler]:
    """A model with n-grams beside it or without, and what draws from it."""
    lm = charlm.load(GOLDEN / name, task="language-model")
    sampler = lm.sampler(10**6, SamplingConfig())
    assert isinstance(sampler, Sampler)
    return lm, sampler


@pytest.mark.parametrize("name", ["characters", "words", "pieces"])
def test_sequences_that_come_and_go_are_those_of_each_alone(name: str) -> None:
    """Forty with prompts and configs of their own, at most seven at a time, entering at random."""
    lm, sampler = model_of(name)
    rng = random.Random(0)
    asked = []
    for number in range(40):
        how = {**rng.choice(WAYS), "max_tokens": rng.randint(1, 25), "seed": number}
        if name == "words" and number % 4 == 0:
            how["unknown"] = "spell"
        asked.append((number % 3, rng.choice(PROMPTS), SamplingConfig(**how)))
    begun = sampler.begin_all([Prompt(lm.tokenizer, prompt) for _, prompt, _ in asked])
    waiting = [
        (at, sampler.lane(begun[at], config, index, top=2))
        for at, (index, _, config) in enumerate(asked)
    ]
    found: dict[int, Sample] = {}
    side, numbers = Lanes(sampler.decoder), {lane: at for at, lane in waiting}
    while waiting or side.lanes:
        room = rng.randint(0, 7 - len(side.lanes)) if waiting else 0
        entering, waiting = waiting[:room], waiting[room:]
        side.add([lane for _, lane in entering])
        if not side.lanes:
            continue
        sampler.step(side)
        ended = []
        for row, lane in enumerate(side.lanes):
            if (done := sampler.finished(lane)) is not None:
                found[numbers[lane]] = done
                ended.append(row)
        side.remove(ended)
    for at, (index, prompt, config) in enumerate(asked):
        (alone,) = sampler.sample(1, config, prompt=prompt, indices=[index])
        assert found[at].text == alone.text
        assert found[at].ended == alone.ended
        assert found[at].total_log_prob == pytest.approx(alone.total_log_prob, abs=1e-4)


@pytest.mark.parametrize("name", ["characters", "words", "pieces"])
def test_alternatives_are_the_likeliest_of_what_comes_next(name: str) -> None:
    """At each token those of next_tokens there, and the token's own log P."""
    lm, sampler = model_of(name)
    prompt = Prompt(lm.tokenizer, "The ")
    lane = sampler.lane(sampler.begin(prompt), SamplingConfig(max_tokens=6, seed=1), 0, top=4)
    side = Lanes(sampler.decoder)
    side.add([lane])
    sampler.step(side)
    while sampler.finished(lane) is None:
        sampler.step(side)
    engine = lm.engines.of("torch")
    for at, (token, told) in enumerate(zip(lane.ids, lane.alternatives, strict=True)):
        logits = engine.next_logits(np.array([*prompt.ids, *lane.ids[:at]]))
        log_probs = logits - np.logaddexp.reduce(logits)
        best = (-log_probs).argsort(kind="stable")[:4].tolist()
        assert list(told.top) == best
        assert told.log_prob == pytest.approx(float(log_probs[token]), abs=1e-5)
        for kind, log_prob in told.top.items():
            assert log_prob == pytest.approx(float(log_probs[kind]), abs=1e-5)


def test_ids_go_on_as_their_text_does() -> None:
    """A prompt as ids draws what the same prompt as text draws; an <EOS> begins anew."""
    for name in ("characters", "words", "pieces"):
        lm, sampler = model_of(name)
        text = Prompt(lm.tokenizer, "The pear")
        config = SamplingConfig(max_tokens=9, seed=3)
        drawn = []
        for prompt in (
            text,
            Prompt.of_ids(lm.tokenizer, text.ids),
            Prompt.of_ids(lm.tokenizer, [5, 4, 1, *text.ids]),
        ):
            lane = sampler.lane(sampler.begin(prompt), config, 0)
            side = Lanes(sampler.decoder)
            side.add([lane])
            sampler.step(side)
            while (done := sampler.finished(lane)) is None:
                sampler.step(side)
            drawn.append(done.text.removeprefix(prompt.text))
        assert drawn[0] == drawn[1] == drawn[2]
