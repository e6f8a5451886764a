"""POST /v1/completions in OpenAI's form: drawn text, whole or as it comes, its probabilities."""

import contextlib
import dataclasses
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from charlm.config import ADAPTS_ALONE, UNKNOWN, SamplingConfig
from charlm.inference.drawing.lanes import Alternatives
from charlm.inference.fill import with_gap
from charlm.inference.sample import fresh_seed
from charlm.models.cloze_model import ClozeModel
from charlm.models.language_model import LanguageModel
from charlm.serving.api.choices import Choice, Entry, Names, prompt_entries, read
from charlm.serving.api.schema import (
    Anything,
    Body,
    Field,
    Flag,
    Neutral,
    Number,
    Object,
    Prompts,
    Text,
    Texts,
    Whole,
)
from charlm.serving.api.schema import (
    Choice as OneOf,
)
from charlm.serving.jobs import Draw, Progress
from charlm.serving.models import Served, unsuited
from charlm.serving.problems import RequestError
from charlm.serving.sending import beside
from charlm.serving.settings import Limits
from charlm.tokenizers.prompt import Prompt

_MOST_ALTERNATIVES = 20
_MOST_STOPS = 16
_LONGEST_STOP = 200  # characters


def body(limits: Limits) -> Body:
    """What a request may hold."""
    no_penalty = "this model has no such penalty: leave it out, or give 0"
    return Body(
        "Completion",
        "Texts to go on with, and how.",
        (
            Field("model", Text(), "Name of the model; the first one without.", None),
            Field(
                "prompt",
                Prompts(limits.texts),
                "Text to go on with: a string, a list of them, token ids or lists of those.",
                [""],
            ),
            Field("max_tokens", Whole(0, limits.max_tokens), "Most tokens of a choice.", 16),
            Field("temperature", Number(0, 1000), "0 takes the likeliest token each time.", 1.0),
            Field("top_p", Number(1e-9, 1), "Draw from the likeliest types of this share.", 1.0),
            Field("top_k", Whole(-1, 10_000_000), "Draw from so many types; 0 or -1: all.", None),
            Field("n", Whole(1, limits.n), "Choices for each prompt.", 1),
            Field("stop", Texts(0, _MOST_STOPS), "Texts before which a choice ends.", ()),
            Field("seed", Whole(), "The same seed gives the same text.", None),
            Field("echo", Flag(), "Put the prompt in front of each choice.", False),
            Field(
                "logprobs",
                Whole(0, _MOST_ALTERNATIVES),
                "Log-probability of each token, and so many of the likeliest at its place.",
                None,
            ),
            Field("stream", Flag(), "Send the text as it is drawn, as server-sent events.", False),
            Field(
                "stream_options",
                Object(
                    Field("include_usage", Flag(), "End with the counts of tokens.", False),
                    Field("include_obfuscation", Anything(), "Has no effect.", None),
                ),
                "What a stream holds beside text.",
                None,
            ),
            Field("suffix", Text(), "Text after the gap, of a model that reads both sides.", None),
            Field("label", Text(), "Label of the text, of a model with labels.", None),
            Field(
                "adapt",
                OneOf(*ADAPTS_ALONE),
                "Mix in contexts of the training text; sequence: go on learning as it is drawn.",
                "off",
            ),
            Field("unk", OneOf(*UNKNOWN), "What becomes of unknown tokens.", "resample"),
            Field("user", Anything(), "Has no effect.", None),
            Field("best_of", Whole(1, limits.n), "Must be n where it is given.", None),
            Field("frequency_penalty", Neutral(0, because=no_penalty), "Must be 0.", None),
            Field("presence_penalty", Neutral(0, because=no_penalty), "Must be 0.", None),
            Field(
                "logit_bias",
                Neutral({}, because="logits are not biased here: leave it out"),
                "Must be empty.",
                None,
            ),
        ),
    )


def size_of(given: dict[str, Any]) -> int:
    """How many tokens an answer may tell of, each with its alternatives."""
    texts = given["prompt"]
    tokens = given["n"] * len(texts) * given["max_tokens"]
    tokens += given["n"] * sum(map(len, texts)) if given["echo"] else 0
    return int(tokens * (1 + (given["logprobs"] or 0)))


@dataclasses.dataclass(frozen=True)
class Asked:
    """A completion as it was asked for."""

    served: Served
    prompts: list[Prompt]
    given: dict[str, Any]
    config: SamplingConfig

    @classmethod
    async def of(cls, served: Served, given: dict[str, Any], limits: Limits) -> "Asked":
        """The same of a body that was read. Raises RequestError for what cannot be."""
        if given["best_of"] not in (None, given["n"]):
            raise RequestError(400, "best_of must be n: all choices are told.", param="best_of")
        if given["stream_options"] is not None and not given["stream"]:
            raise RequestError(400, "stream_options need stream.", param="stream_options")
        if given["n"] * len(given["prompt"]) > limits.texts:
            raise RequestError(
                400, f"n times the prompts must not be more than {limits.texts:,}.", param="n"
            )
        if any(not stop or len(stop) > _LONGEST_STOP for stop in given["stop"]):
            raise RequestError(
                400,
                f"stop: each text must have from 1 to {_LONGEST_STOP} characters.",
                param="stop",
            )
        told = size_of(given)
        if given["logprobs"] is not None and told > limits.alternatives:
            raise RequestError(
                400,
                f"logprobs of {told:,} tokens and alternatives in all, and {limits.alternatives:,} "
                "are told: ask for less.",
                param="logprobs",
            )
        top_k = given["top_k"]
        config = SamplingConfig(
            temperature=given["temperature"],
            top_k=None if top_k in (None, 0, -1) else top_k,
            top_p=given["top_p"],
            max_tokens=max(1, given["max_tokens"]),
            stop=given["stop"],
            unknown=given["unk"],
            seed=fresh_seed() if given["seed"] is None else given["seed"],
        )
        tokenizer = served.tokenizer()

        def prompt(one: str | list[int]) -> Prompt:
            if isinstance(one, list):
                return Prompt.of_ids(tokenizer, one)
            found = Prompt(tokenizer, one)
            if not given["max_tokens"]:  # nothing follows to which its last space could be left
                found.ids = tokenizer.encode(one).tolist()
            return found

        def prompts() -> list[Prompt]:
            return list(map(prompt, given["prompt"]))

        size = sum(map(len, given["prompt"]))
        return cls(served, await beside(size, prompts), given, config)

    @property
    def num_prompt_tokens(self) -> int:
        """Ids of all prompts."""
        return sum(len(prompt.ids) for prompt in self.prompts)


class Completion:
    """A completion on its way: its choices, and the counts."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self.id = f"cmpl-{secrets.token_hex(12)}"
        self._created = int(time.time())
        self._choices: list[Choice] = []

    @property
    def num_tokens(self) -> int:
        """Tokens drawn so far."""
        return sum(choice.num_tokens for choice in self._choices)

    @property
    def num_echoed(self) -> int:
        """Tokens of prompts that are told again, with every choice."""
        given = self._asked.given
        return int(given["n"]) * self._asked.num_prompt_tokens if given["echo"] else 0

    def usage(self) -> dict[str, int]:
        """The counts."""
        prompt, drawn = self._asked.num_prompt_tokens, self.num_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": drawn,
            "total_tokens": prompt + drawn,
        }

    def told(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """The object that holds choices, whole or in part."""
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self._created,
            "model": self._asked.served.name,
            "system_fingerprint": f"step-{self._asked.served.step}",
            "seed": self._asked.config.seed,
            "choices": choices,
            **more,
        }

    async def whole(self) -> dict[str, Any]:
        """All of it."""
        async with contextlib.aclosing(self._drawing(live=False)) as drawing:
            async for _ in drawing:
                pass
        choices = [
            {"index": index, **choice.fragment()} for index, choice in enumerate(self._choices)
        ]
        return self.told(choices, usage=self.usage())

    async def parts(self) -> AsyncGenerator[dict[str, Any]]:
        """The same as it comes, a choice in fragments."""
        async with contextlib.aclosing(self._drawing(live=True)) as drawing:
            async for changed in drawing:
                yield self.told(
                    [{"index": index, **self._choices[index].fragment()} for index in changed]
                )
        options = self._asked.given["stream_options"]
        if options is not None and options["include_usage"]:
            yield self.told([], usage=self.usage())

    async def _drawing(self, *, live: bool) -> AsyncGenerator[list[int]]:
        """Draw, and tell each time which choices have something new."""
        asked, given = self._asked, self._asked.given
        n, top = given["n"], given["logprobs"]
        names = None if top is None else Names(asked.served.tokenizer())
        echoed: list[list[Entry]] = [[] for _ in asked.prompts]
        if given["echo"] and names is not None:
            scored = await _scored(asked)
            size = asked.num_prompt_tokens * (1 + (top or 0))
            echoed = await beside(size, _echoed, asked.prompts, scored, names)
        self._choices = [
            Choice(prompt, given["stop"], echo=given["echo"], names=names, echoed=entries)
            for prompt, entries in zip(asked.prompts, echoed, strict=True)
            for _ in range(n)
        ]
        if not given["max_tokens"]:
            for choice in self._choices:
                choice.finish_reason = "length"
            yield list(range(len(self._choices)))
            return
        job = Draw(
            asked.prompts,
            n,
            asked.config,
            label=given["label"],
            adapt=given["adapt"],
            top=top,
            live=live,
        )
        asked.served.draw(job)
        left = len(self._choices)
        try:
            if live and given["echo"]:
                yield list(range(left))
            while left:
                came = await job.inbox.get()
                await beside(sum(len(one.ids) for one in came), self._take, came)
                left -= sum(one.sample is not None for one in came)
                if came:
                    yield list(dict.fromkeys(one.choice for one in came))
        finally:
            job.left = True

    def _take(self, came: Sequence[Progress]) -> None:
        for progress in came:
            self._choices[progress.choice].add(progress)


def _echoed(
    prompts: Sequence[Prompt], scored: Sequence[list[Alternatives]], names: Names
) -> list[list[Entry]]:
    """The tokens of each prompt."""
    pairs = zip(prompts, scored, strict=True)
    return [prompt_entries(prompt, told, names) for prompt, told in pairs]


async def _scored(asked: Asked) -> list[list[Alternatives]]:
    """log P of the tokens of each prompt, what stands for its <UNK> spelled where it is known."""
    label, adapt = asked.given["label"], asked.given["adapt"]
    model = asked.served.language_model(label, adapt)
    top = asked.given["logprobs"]

    def run(several: Sequence[list[Prompt]]) -> list[list[list[Alternatives]]]:
        ids = [prompt.ids for prompts in several for prompt in prompts]
        engine = model.engines.for_tokens(sum(map(len, ids)))
        found = iter(read(engine, model.tokenizer.eos_id, ids, top))
        return [[next(found) for _ in prompts] for prompts in several]

    key = ("read", label, adapt, top)
    found: list[list[Alternatives]] = await asked.served.call(
        key, asked.prompts, run, asked.num_prompt_tokens
    )
    return [_spelled(model, *one) for one in zip(asked.prompts, found, strict=True)]


def _spelled(model: LanguageModel, prompt: Prompt, found: list[Alternatives]) -> list[Alternatives]:
    """The same with the probability of what stands for <UNK>, where a prompt came as text."""
    unk_id = model.tokenizer.unk_id
    places = [at for at, token in enumerate(prompt.ids) if token == unk_id]
    if model.unknown is None or not places or not prompt.is_text:
        return found
    spelled = model.tokenizer.unknown(prompt.text)[: len(places)]
    log_probs = model.unknown.log_probs(spelled).tolist()
    for at, log_prob in zip(places, log_probs, strict=True):
        found[at] = found[at]._replace(log_prob=found[at].log_prob + log_prob)
    return found


async def filled(served: Served, given: dict[str, Any]) -> dict[str, Any]:
    """What fills the gap between a prompt and a suffix: the n likeliest ways, max_tokens long.

    Raises RequestError for what means nothing there.
    """
    model = served.model
    assert isinstance(model, ClozeModel)
    if len(given["prompt"]) != 1 or not isinstance(given["prompt"][0], str):
        raise RequestError(400, "prompt must be one string before a suffix.", param="prompt")
    for name in ("stream", "echo", "logprobs", "stop", "label"):
        if given[name] not in (None, False, ()):
            raise RequestError(
                400, f"{name} means nothing where a gap is filled: leave it out.", param=name
            )
    served.check_told(given)
    if given["unk"] == "spell":
        raise RequestError(400, "unk must be resample or keep where a gap is filled.", param="unk")
    length, before, after = given["max_tokens"], given["prompt"][0], given["suffix"] or ""
    if not 1 <= length <= MOST_GAP:
        raise RequestError(
            400,
            f"max_tokens is the length of the gap: it must be from 1 to {MOST_GAP}.",
            param="max_tokens",
        )
    text = with_gap(before, length, after)
    found = await served.call(
        object(),
        text,
        lambda texts: [model.fill(one, top=given["n"], unk=given["unk"]) for one in texts],
    )
    choices = [
        {
            "index": index,
            "text": entry.gaps[0],
            "logprobs": None,
            "finish_reason": "length",
            "log_prob_nats": entry.log_prob,
        }
        for index, entry in enumerate(found.entries)
    ]
    tokenizer = served.tokenizer()
    known = len(tokenizer.encode(before)) + len(tokenizer.encode(after))
    drawn = length * len(choices)
    return {
        "id": f"cmpl-{secrets.token_hex(12)}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": served.name,
        "system_fingerprint": f"step-{served.step}",
        "choices": choices,
        "usage": {
            "prompt_tokens": known,
            "completion_tokens": drawn,
            "total_tokens": known + drawn,
        },
    }


MOST_GAP = 100  # tokens of a gap


def check_suited(served: Served, given: dict[str, Any]) -> None:
    """Raise RequestError if the model has no completions, or a suffix means nothing to it."""
    is_cloze = isinstance(served.model, ClozeModel)
    if is_cloze and given["suffix"] is None:
        raise RequestError(
            400,
            f"{served.name} reads both sides of each token: it fills the gap between prompt and "
            "suffix, and has no next token. Give a suffix, or take a language model.",
            param="suffix",
        )
    if is_cloze:
        return
    if not isinstance(served.model, LanguageModel):
        raise unsuited(served, "has no completions")
    if given["suffix"] is not None:
        raise RequestError(
            400,
            f"{served.name} reads from left to right alone and knows nothing of what comes after "
            "a gap: a suffix is for a model that was trained on both sides.",
            param="suffix",
            code="unsupported_value",
        )
    served.check_told(given)
