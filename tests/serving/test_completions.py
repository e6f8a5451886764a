"""Completions: what OpenAI's client and others get is what charlm gives offline."""

import itertools
from typing import Any

import openai
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import charlm
from charlm.serving.server import Server
from tests.support.serving import GOLDEN, ask, complete

LEVELS = ("characters", "words", "pieces")
PROMPTS = ("", "The ", "a pear", "é東 x")


def drawn(name: str, **options: Any) -> list[str]:
    """What charlm draws of a model offline, the prompt left out."""
    prompt = options.get("prompt", "")
    return [one.text[len(prompt) :] for one in charlm.load(GOLDEN / name).sample(**options)]


@pytest.fixture(scope="module")
def client(server: Server) -> openai.OpenAI:
    """OpenAI's own client."""
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def test_openais_client_gets_what_charlm_draws(client: openai.OpenAI) -> None:
    """Text, choices, reasons and counts; the same as `charlm sample` with that seed."""
    found = client.completions.create(
        model="characters", prompt="The ", max_tokens=30, n=3, seed=5, temperature=0.8, top_p=0.9
    )
    expected = drawn(
        "characters", n=3, prompt="The ", max_tokens=30, seed=5, temperature=0.8, top_p=0.9
    )
    assert [choice.text for choice in found.choices] == expected
    assert [choice.index for choice in found.choices] == [0, 1, 2]
    assert {choice.finish_reason for choice in found.choices} <= {"stop", "length"}
    assert found.model == "characters"
    assert found.object == "text_completion"
    assert found.usage is not None
    assert found.usage.prompt_tokens == 4
    assert found.usage.total_tokens == 4 + found.usage.completion_tokens


def test_openais_client_streams(client: openai.OpenAI) -> None:
    """The fragments of each choice are its text; counts come at the end where asked for."""
    stream = client.completions.create(
        model="words",
        prompt="The pear",
        max_tokens=25,
        n=2,
        seed=3,
        stream=True,
        stream_options={"include_usage": True},
    )
    texts, reasons, usage = ["", ""], [None, None], None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert texts == drawn("words", n=2, prompt="The pear", max_tokens=25, seed=3)
    assert None not in reasons
    assert usage is not None
    assert usage.completion_tokens > 2


def test_openais_client_lists_models_and_raises_its_own_errors(client: openai.OpenAI) -> None:
    """Several models by name; the exceptions that a client's author expects."""
    names = [model.id for model in client.models.list()]
    assert names == sorted(path.name for path in GOLDEN.iterdir())
    assert client.models.retrieve("words").id == "words"
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-5' here"):
        client.completions.create(model="gpt-5", prompt="a")
    with pytest.raises(openai.BadRequestError, match="temperature must be a number") as raised:
        client.completions.create(model="words", prompt="a", temperature=-1)
    assert raised.value.param == "temperature"
    with pytest.raises(openai.BadRequestError, match="reads from left to right alone"):
        client.completions.create(model="words", prompt="a", suffix="b")
    with pytest.raises(openai.BadRequestError, match="frequency_penalty"):
        client.completions.create(model="words", prompt="a", frequency_penalty=0.5)


@pytest.mark.parametrize("name", LEVELS)
@example(
    prompt="é東 x",  # bytes that have no text of their own
    n=1,
    max_tokens=1,
    temperature=0.7,
    top_k=None,
    stop=("e",),
    seed=0,
    echo=True,
)
@settings(max_examples=8)
@given(
    prompt=st.sampled_from(PROMPTS),
    n=st.integers(1, 3),
    max_tokens=st.integers(1, 12),
    temperature=st.sampled_from([0.0, 0.7, 1.3]),
    top_k=st.sampled_from([None, 3]),
    stop=st.sampled_from([(), ("e",), (" a", "th")]),
    seed=st.integers(0, 99),
    echo=st.booleans(),
)
def test_a_completion_is_what_is_drawn_offline(
    server: Server, name: str, echo: bool, **options: Any
) -> None:
    """At each level, whole and streamed, with and without log-probabilities."""
    body = {"model": name, "echo": echo, **options, "stop": list(options["stop"])}
    expected = drawn(name, **options)
    if echo:
        expected = [options["prompt"] + text for text in expected]
    for logprobs in (None, 2):
        found = complete(server, **body, logprobs=logprobs)["choices"]
        assert [choice["text"] for choice in found] == expected
        events = ask(server, "/v1/completions", {**body, "logprobs": logprobs, "stream": True})
        texts: dict[int, str] = dict.fromkeys(range(options["n"]), "")
        told: dict[int, list[Any]] = {index: [] for index in texts}
        for choice in itertools.chain.from_iterable(one["choices"] for one in events.events):
            texts[choice["index"]] += choice["text"]
            told[choice["index"]].append(choice["logprobs"])
        assert list(texts.values()) == expected
        if logprobs:
            for choice in found:
                parts = told[choice["index"]]
                for field, values in choice["logprobs"].items():
                    joined = list(itertools.chain.from_iterable(part[field] for part in parts))
                    if field != "top_logprobs":
                        close = field == "token_logprobs"
                        assert joined == (pytest.approx(values, abs=1e-5) if close else values)


@pytest.mark.parametrize("name", LEVELS)
def test_logprobs_are_those_of_scoring(server: Server, name: str) -> None:
    """Of prompt and continuation: the first token has its own, and offsets cut the text."""
    lm = charlm.load(GOLDEN / name, task="language-model")
    prompt = "The apple and a"
    found = complete(
        server, model=name, prompt=prompt, max_tokens=8, seed=2, echo=True, logprobs=3
    )["choices"][0]
    told = found["logprobs"]
    assert "".join(one for one in told["tokens"] if one != "<EOS>") == found["text"]
    for token, offset in zip(told["tokens"], told["text_offset"], strict=True):
        assert token == "<EOS>" or found["text"][offset:].startswith(token)
    scored = lm.score(found["text"], per_token=True).tokens
    assert scored is not None
    if name == "characters":  # which cuts a text into what it was drawn as
        values = [one.log_prob for one in scored]
        assert told["token_logprobs"] == pytest.approx(values[: len(told["tokens"])], abs=1e-5)
    begun = lm.score(prompt, per_token=True).tokens
    assert begun is not None
    values = [one.log_prob for one in begun[:-1]]
    assert told["token_logprobs"][: len(values)] == pytest.approx(values, abs=1e-5)
    for value, top, token in zip(
        told["token_logprobs"], told["top_logprobs"], told["tokens"], strict=True
    ):
        assert top[token] == value
        assert 3 <= len(top) <= 4
        assert list(top.values())[:3] == sorted(top.values(), reverse=True)[:3]


@pytest.mark.parametrize("max_tokens", [0, 1])
@pytest.mark.parametrize("name", LEVELS)
def test_a_prompt_alone_is_scored(server: Server, name: str, max_tokens: int) -> None:
    """echo with max_tokens 0 or 1, as lm-evaluation-harness asks: one entry more for the one."""
    text = "A pear salad"
    lm = charlm.load(GOLDEN / name, task="language-model")
    ids = lm.tokenizer.encode(text).tolist()
    for prompt in (text, ids):
        found = complete(
            server, model=name, prompt=prompt, max_tokens=max_tokens, echo=True, logprobs=1
        )
        told = found["choices"][0]["logprobs"]
        assert len(told["tokens"]) == len(ids) + max_tokens
        # Ids do not say what stands for an <UNK> among them.
        scored = lm.score(text, per_token=True, closed=prompt is ids).tokens
        assert scored is not None
        expected = [one.log_prob for one in scored[:-1]]
        assert told["token_logprobs"][: len(ids)] == pytest.approx(expected, abs=1e-5)
        greedy = [
            token == max(top.values())
            for token, top in zip(told["token_logprobs"], told["top_logprobs"], strict=True)
        ]
        assert greedy[: len(ids)] == [one.rank == 1 for one in scored[:-1]]
    assert found["usage"]["prompt_tokens"] == len(ids)


def test_an_end_within_ids_begins_a_sequence(server: Server) -> None:
    """What follows <EOS> is scored, and drawn, as a sequence of its own."""
    lm = charlm.load(GOLDEN / "characters", task="language-model")
    first, second = (lm.tokenizer.encode(text).tolist() for text in ("A pear", "The "))
    ids = [*first, 1, *second]
    found = complete(
        server, model="characters", prompt=ids, max_tokens=9, seed=4, echo=True, logprobs=0
    )["choices"][0]
    assert (
        found["text"] == "A pearThe " + drawn("characters", prompt="The ", max_tokens=9, seed=4)[0]
    )
    log_prob = sum(found["logprobs"]["token_logprobs"][: len(first) + 1])
    assert log_prob == pytest.approx(lm.score("A pear").total_log_prob, abs=1e-5)
    told = complete(server, model="characters", prompt="The ", max_tokens=9, seed=4, logprobs=0)
    assert found["logprobs"]["token_logprobs"][len(ids) :] == pytest.approx(
        told["choices"][0]["logprobs"]["token_logprobs"], abs=1e-5
    )


def test_several_prompts_have_their_choices_in_order(server: Server) -> None:
    """A list of prompts, of texts or ids: choice p * n + i is the i-th of prompt p."""
    lm = charlm.load(GOLDEN / "words", task="language-model")
    prompts = ["The pear", "A bear", ""]
    ids = [lm.tokenizer.encode_prompt(prompt).tolist() for prompt in prompts]
    expected = [
        text
        for prompt in prompts
        for text in drawn("words", n=2, prompt=prompt, max_tokens=7, seed=1)
    ]
    for asked in (prompts, ids):
        found = complete(server, model="words", prompt=asked, max_tokens=7, seed=1, n=2)
        assert [choice["text"] for choice in found["choices"]] == expected
        assert [choice["index"] for choice in found["choices"]] == list(range(6))


def test_a_seed_is_told_and_gives_the_text_again(server: Server) -> None:
    """Without one each request draws another, and says which."""
    first = complete(server, prompt="The", max_tokens=30)
    second = complete(server, prompt="The", max_tokens=30)
    assert first["seed"] != second["seed"]
    again = complete(server, prompt="The", max_tokens=30, seed=first["seed"])
    assert again["choices"] == first["choices"]


def test_labels_draw_by_turns_or_as_asked(server: Server) -> None:
    """A conditional model tells which label drew, and draws for one that is asked for."""
    lm = charlm.load(GOLDEN / "labels", task="language-model")
    expected = lm.sample(6, seed=2, max_tokens=12, prompt="A")
    found = complete(server, model="labels", prompt="A", n=6, seed=2, max_tokens=12)["choices"]
    assert [choice["text"] for choice in found] == [one.text[1:] for one in expected]
    names = lm.labels.names  # type: ignore[union-attr]
    assert [choice["label"] for choice in found] == [names[one.drawn_by or 0] for one in expected]
    label = names[-1]
    found = complete(server, model="labels", n=2, seed=2, max_tokens=12, label=label)["choices"]
    expected = lm.with_label(label).sample(2, seed=2, max_tokens=12)
    assert [choice["text"] for choice in found] == [one.text for one in expected]
    assert {choice["label"] for choice in found} == {label}
    assert "no label" in ask(
        server, "/v1/completions", {"model": "words", "label": "x"}
    ).message.replace("knows no labels", "no label")


def test_a_suffix_is_for_a_model_of_both_sides(server: Server) -> None:
    """It fills the gap, max_tokens long, with the likeliest; what means nothing is refused."""
    model = charlm.load(GOLDEN / "gaps", task="cloze")
    body = {"model": "gaps", "prompt": "a [?] ", "suffix": "ar \\[?2]", "max_tokens": 2, "n": 3}
    found = complete(server, **body)["choices"]
    expected = model.fill("a \\[?] [?2]ar \\\\\\[?2]", top=3).entries
    assert [choice["text"] for choice in found] == [entry.gaps[0] for entry in expected]
    assert [choice["log_prob_nats"] for choice in found] == [one.log_prob for one in expected]
    for more in ({"stream": True}, {"logprobs": 1}, {"echo": True}, {"stop": "a"}):
        assert "gap" in ask(server, "/v1/completions", {**body, **more}).message
    assert "suffix" in ask(server, "/v1/completions", {**body, "suffix": None}).message
    for name in ("classifier", "tagger", "translator"):
        message = ask(server, "/v1/completions", {"model": name, "prompt": "a"}).message
        assert message == f"{name} is a {name}: it has no completions."


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"max_tokens": 10**6}, "max_tokens must be a whole number from 0 to 10,000"),
        ({"max_tokens": 2.5}, "max_tokens must be a whole number"),
        ({"n": 0}, "n must be a whole number from 1 to 64, got 0"),
        ({"n": True}, "n must be a whole number"),
        ({"prompt": 7}, "prompt must be a string, a list of strings, token ids or lists of them"),
        ({"prompt": ["a", 7]}, "prompt must be"),
        ({"prompt": [10**30]}, "prompt must be"),
        ({"prompt": [38]}, "Token ids must be from 0 to 37, got 38"),
        ({"prompt": "x" * 20_001}, "the texts have 20,002 characters or ids in all"),
        ({"prompt": ["a"] * 1024, "n": 2}, "n times the prompts must not be more than 1,024"),
        ({"prompt": "\ud800"}, "prompt: character 0 is half a surrogate pair"),
        ({"logprobs": 20, "n": 64, "max_tokens": 1000}, "logprobs of 1,344,000 tokens and alt"),
        ({"logprobs": 9, "echo": True, "n": 30, "prompt": "x" * 999}, "logprobs of 304,500 tok"),
        ({"stop": ["a", ""]}, "stop: each text must have from 1 to 200 characters"),
        ({"temperature": 10**400}, "temperature must be a number from 0 to 1000"),
        ({"top_p": 0}, "top_p must be a number"),
        ({"logit_bias": {"5": 1}}, "logit_bias: logits are not biased here"),
        ({"best_of": 3}, "best_of must be n"),
        ({"stream_options": {}}, "stream_options need stream"),
        ({"stream": True, "stream_options": {"a": 1}}, "there is no field stream_options.'a'"),
        ({"promt": "a"}, "there is no field 'promt'. Did you mean prompt?"),
        ({"unk": "spell"}, "a character model has nothing to spell <UNK> with"),
    ],
)
def test_what_cannot_be_is_named(server: Server, body: dict[str, Any], said: str) -> None:
    """A sentence, and the status of a bad request."""
    answer = ask(server, "/v1/completions", body)
    assert answer.status == 400
    assert said in answer.message


def test_what_changes_nothing_is_taken(server: Server) -> None:
    """Fields that clients send with their defaults."""
    body = {"prompt": "a", "max_tokens": 5, "seed": 1}
    neutral = {
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "logit_bias": {},
        "best_of": 1,
        "user": "someone",
        "suffix": None,
        "top_k": -1,
        "stop": None,
    }
    assert complete(server, **body, **neutral)["choices"] == complete(server, **body)["choices"]
