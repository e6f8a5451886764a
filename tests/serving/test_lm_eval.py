"""lm-evaluation-harness runs against the server: its log-likelihoods are those of `charlm score`.

It brings a hundred packages (the group lm-eval of pyproject.toml), so it is not installed with the
others: without it the test is skipped, and says so.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import charlm
from charlm.serving.server import Server
from tests.support.serving import GOLDEN

PAIRS = 200
CHOICES = """task: {name}_choices
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{context}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: 0
target_delimiter: ""
metric_list: [{{metric: acc}}]
"""
ROLLING = """task: {name}_rolling
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list: [{{metric: bits_per_byte}}]
"""
GENERATED = """task: {name}_generated
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{context}}}}"
doc_to_target: "{{{{text}}}}"
generation_kwargs: {{until: ["e "], max_gen_toks: 20, do_sample: false}}
metric_list: [{{metric: exact_match}}]
"""
TASKS = {"choices": CHOICES, "rolling": ROLLING, "generated": GENERATED}
needs_harness = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None,
    reason="lm-evaluation-harness is not installed: pip install --group lm-eval",
)


def documents() -> list[dict[str, Any]]:
    """Beginnings of lines, each with how it goes on and how it does not."""
    lines = (GOLDEN.parent / "corpus" / "prose.txt").read_text(encoding="utf-8").split("\n")
    found = []
    for line in lines:
        words = line.split(" ")
        if len(words) < 4 or len(found) == PAIRS // 2:
            continue
        half = len(words) // 2
        right = f" {' '.join(words[half:])}"
        wrong = f" {' '.join(reversed(words[half:]))}"
        found.append({"context": " ".join(words[:half]), "choices": [right, wrong], "text": line})
    while len(found) < PAIRS // 2:  # the corpus is short
        one = found[len(found) % 7]
        context = f"{one['context']} {len(found)}"
        found.append({**one, "context": context, "text": context + one["choices"][1]})
    return found


@needs_harness
@pytest.mark.slow
@pytest.mark.parametrize("name", ["characters", "words", "pieces"])
def test_log_likelihoods_are_those_of_scoring(server: Server, name: str, tmp_path: Path) -> None:
    """200 pairs of context and continuation, and whole texts, to 1e-5 nats each."""
    docs = documents()
    file = tmp_path / "docs.jsonl"
    file.write_text("".join(json.dumps(doc) + "\n" for doc in docs), encoding="utf-8")
    for kind, task in TASKS.items():
        (tmp_path / f"{kind}.yaml").write_text(task.format(name=name, file=file))
    run(server, name, tmp_path)
    lm = charlm.load(GOLDEN / name, task="language-model")

    def expected(text: str, context: str = "") -> tuple[float, bool]:
        # The harness sends ids, which do not say what an <UNK> stands for, and no <EOS>.
        tokens = lm.score(text, context=context, per_token=True, closed=True).tokens
        assert tokens is not None
        own = tokens[:-1]
        return sum(one.log_prob for one in own), all(one.rank == 1 for one in own)

    pairs = 0
    for sample in samples(tmp_path, f"{name}_choices"):
        for choice, ((found, greedy),) in zip(
            sample["doc"]["choices"], sample["resps"], strict=True
        ):
            log_prob, is_greedy = expected(choice, sample["doc"]["context"])
            assert float(found) == pytest.approx(log_prob, abs=1e-5)
            assert (str(greedy) == "True") == is_greedy
            pairs += 1
    assert pairs == PAIRS
    rolling = samples(tmp_path, f"{name}_rolling")
    assert len(rolling) == PAIRS // 2
    for sample in rolling:
        ((found,),) = sample["resps"]
        assert float(found) == pytest.approx(expected(sample["doc"]["text"])[0], abs=1e-4)
    for sample in samples(tmp_path, f"{name}_generated"):
        context = sample["doc"]["context"]
        (drawn,) = lm.sample(prompt=context, temperature=0, max_tokens=20, stop=["e ", "<EOS>"])
        assert sample["resps"] == [[drawn.text[len(context) :]]]


def run(server: Server, name: str, folder: Path) -> None:
    """The harness as a person runs it, without a network."""
    where = f"{server.url}/models/{name}/v1/completions"
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    tasks = ",".join(f"{name}_{kind}" for kind in TASKS)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "lm_eval", "run", "--model", "local-completions"),
            *("--model_args", f"model={name},base_url={where},num_concurrent=8"),
            *("--include_path", folder, "--tasks", tasks),
            *("--output_path", folder / "out", "--log_samples"),
        ],
        env={**os.environ, **offline},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def samples(folder: Path, task: str) -> list[dict[str, Any]]:
    """What the harness noted of each document."""
    (path,) = (folder / "out").rglob(f"samples_{task}_*.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
