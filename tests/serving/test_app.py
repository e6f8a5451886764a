"""What there is beside completions: models, tokens, health, counts, the description."""

import re

import pytest

import charlm
from charlm.serving.api.questions import QUESTIONS
from charlm.serving.server import Server
from tests.support.serving import GOLDEN, ask, complete


def test_health_and_models_tell_what_is_there(server: Server) -> None:
    """Names, kinds, labels."""
    health = ask(server, "/health").json
    assert health["status"] == "ok"
    assert health["version"] == charlm.__version__
    models = {one["id"]: one for one in ask(server, "/v1/models").json["data"]}
    assert list(models) == health["models"]
    assert models["words"]["level"] == "word"
    assert models["gaps"]["kind"] == "cloze"
    assert models["classifier"]["labels"] == models["labels"]["labels"]
    assert ask(server, "/v1/models/words").json == models["words"]
    assert ask(server, "/v1/models/none").status == 404


def test_a_path_can_name_the_model(server: Server) -> None:
    """Everything is there again below /models/NAME, for clients that cannot say which."""
    found = ask(server, "/models/words/tokenize", {"prompt": "A pear"}).json
    assert found["tokens"] == charlm.load(GOLDEN / "words").tokenizer.encode("A pear").tolist()
    body = {"prompt": "A", "max_tokens": 3, "seed": 1}
    below = ask(server, "/models/words/v1/completions", body).json
    assert below["model"] == "words"
    assert below["choices"] == complete(server, model="words", **body)["choices"]
    other = ask(server, "/models/words/v1/completions", {**body, "model": "pieces"})
    assert other.message == "the path is that of the model 'words'."
    assert [one["id"] for one in ask(server, "/models/words/v1/models").json["data"]] == ["words"]
    assert ask(server, "/models/none/v1/models").status == 404


@pytest.mark.parametrize("root", ["", "/v1"])
@pytest.mark.parametrize("name", ["characters", "words", "pieces", "gaps", "classifier"])
def test_texts_become_ids_and_texts_again(server: Server, root: str, name: str) -> None:
    """As vLLM's server has it, for lm-evaluation-harness."""
    tokenizer = charlm.load(GOLDEN / name).checkpoint.tokenizer
    text = "A pear, <EOS> and 東"
    body = {"model": name, "prompt": text, "add_special_tokens": False}
    found = ask(server, f"{root}/tokenize", {**body, "return_token_strs": True}).json
    assert found["tokens"] == tokenizer.encode(text).tolist()
    assert found["count"] == len(found["tokens"])
    assert found["token_strs"] == tokenizer.pieces(found["tokens"])
    assert found["max_model_len"] == 20_000
    back = ask(server, f"{root}/detokenize", {"model": name, "tokens": found["tokens"]}).json
    assert back == {"prompt": tokenizer.decode(found["tokens"])}
    info = ask(server, f"{root}/tokenizer_info?model={name}").json
    assert info["eos_token"] == "<EOS>"
    assert info["vocab_size"] == tokenizer.vocab_size
    only = ask(server, f"{root}/tokenize", {"model": name, "prompt": info["eos_token"]}).json
    assert only["tokens"] == [info["eos_token_id"]] == [1]


def test_tokens_of_pairs_have_two_sides(server: Server) -> None:
    """Sources and targets are cut by tokenizers of their own."""
    checkpoint = charlm.load(GOLDEN / "translator").checkpoint
    body = {"model": "translator", "prompt": "42"}
    sides = [ask(server, "/tokenize", {**body, "target": one}).json for one in (False, True)]
    assert sides[0]["tokens"] == checkpoint.source_tokenizer.encode("42").tolist()
    assert sides[1]["tokens"] == checkpoint.tokenizer.encode("42").tolist()
    message = ask(server, "/tokenize", {"model": "words", "prompt": "a", "target": True}).message
    assert message == "words is no translator: it has no targets."
    assert ask(server, "/tokenize", {"model": "tagger", "prompt": "a"}).status == 400
    assert "from 0 to" in ask(server, "/detokenize", {"tokens": [99]}).message


def test_metrics_count(server: Server) -> None:
    """Prometheus' text: every line has its form, and counts grow with requests."""
    before = samples(ask(server, "/metrics").data.decode())
    found = complete(server, model="words", prompt="A", max_tokens=4, seed=1)
    answer = ask(server, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    after = samples(answer.data.decode())

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    path = 'charlm_requests_total{path="/v1/completions",status="200"}'
    assert grown(path) == 1
    assert grown('charlm_request_seconds_count{path="/v1/completions"}') == 1
    drawn = found["usage"]["completion_tokens"]
    assert grown('charlm_tokens_total{model="words",kind="completion"}') == drawn
    assert grown('charlm_drawn_tokens_total{model="words"}') == drawn
    assert after['charlm_queue_requests{model="words"}'] == 0
    assert after['charlm_sequences_running{model="words"}'] == 0


def samples(text: str) -> dict[str, float]:
    """The samples of Prometheus' text, each line of which has to be one or a comment."""
    found = {}
    for line in text.splitlines():
        if not re.fullmatch(r"# (HELP|TYPE) [a-z_]+ .+", line):
            sample = re.fullmatch(r'([a-z_]+(?:\{(?:[a-z]+="[^"\\]*",?)+\})?) ([0-9.e+-]+)', line)
            assert sample is not None, line
            assert sample[1] not in found
            found[sample[1]] = float(sample[2])
    return found


def test_the_description_names_every_endpoint(server: Server) -> None:
    """/openapi.json: paths that are answered, and bodies with every field."""
    found = ask(server, "/openapi.json").json
    assert found["openapi"] == "3.1.0"
    asked = {f"/v1/{question.name}" for question in QUESTIONS}
    assert asked | {"/v1/completions", "/tokenize", "/v1/detokenize"} <= found["paths"].keys()
    for path, operations in found["paths"].items():
        for method in operations:
            answer = ask(server, path.replace("{name}", "words"), method=method.upper(), data=b"{}")
            assert answer.status in (200, 400), (path, answer.data)
    schemas = found["components"]["schemas"]
    assert schemas["Completion"]["properties"]["temperature"]["maximum"] == 1000
    assert schemas["Translate"]["required"] == ["sources"]
    references = re.findall(r"#/components/schemas/(\w+)", str(found["paths"]))
    assert {*references} == schemas.keys()


def test_other_paths_are_told_so(server: Server) -> None:
    """In the form of every error."""
    answer = ask(server, "/v1/chat/completions", {"messages": []})
    assert answer.status == 404
    assert "POST '/v1/chat/completions' is nothing here" in answer.message
    answer = ask(server, "/v1/completions")
    assert answer.status == 405
    assert "GET '/v1/completions' is not answered here" in answer.message
