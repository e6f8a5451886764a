"""Laws of ONNX graphs: they say what the equations say, whoever runs them, of whatever size."""

import contextlib
import io
import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charlm
from charlm.config import ATTENTIONS, CELLS, POOLINGS
from charlm.equations import heads as head_equations
from charlm.equations import pairs as pair_equations
from charlm.equations import parameters
from charlm.errors import CharlmError, UsageError
from charlm.network_config import (
    CausalConfig,
    ClassifierConfig,
    ClozeConfig,
    PairsConfig,
    TaggerConfig,
)
from tests.support.cli import bad, good
from tests.support.tiny import TEXTS

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from charlm.exchange.graphs import checking, heads, language_models, pairs
from charlm.exchange.graphs.export import export_onnx, graphs_of

SIZES: dict[str, Any] = {"vocab_size": 9, "hidden_size": 6, "embedding_size": 5}
Arrays = dict[str, np.ndarray]


def random(shapes: Mapping[str, tuple[int, ...]], mark: int | None = None) -> Arrays:
    """Weights of these shapes, the vector of the mark zero."""
    rng = np.random.default_rng(1)
    found = {name: rng.normal(0, 0.5, size).astype(np.float32) for name, size in shapes.items()}
    if mark is not None:
        found["embedding.weight"][mark] = 0
    return found


def of_causal(config: CausalConfig) -> tuple[Arrays, Callable[[Arrays], float]]:
    """Weights of a language model, and how far its graphs are off the equations of others."""
    arrays = random(parameters.shapes(config), config.vocab_size)
    runs = checking.sessions(language_models.causal(config, arrays))
    return arrays, lambda others: checking.causal(config, others, runs)


def of_cloze(config: ClozeConfig) -> tuple[Arrays, Callable[[Arrays], float]]:
    """The same of a model of both sides."""
    arrays = random(parameters.shapes(config), config.vocab_size)
    runs = checking.sessions(language_models.cloze(config, arrays))
    return arrays, lambda others: checking.cloze(config, others, runs)


def of_head(config: ClassifierConfig | TaggerConfig) -> tuple[Arrays, Callable[[Arrays], float]]:
    """The same of a head, calibrated."""
    arrays = random(head_equations.shapes(config))
    runs = checking.sessions(heads.head(config, arrays, 1.5))
    return arrays, lambda others: checking.head(config, others, 1.5, runs)


def of_pairs(config: PairsConfig) -> tuple[Arrays, Callable[[Arrays], float]]:
    """The same of a translator."""
    arrays = random(pair_equations.shapes(config), config.vocab_size)
    runs = checking.sessions(pairs.translator(config, arrays))
    return arrays, lambda others: checking.translator(config, others, runs)


LETTERS = {"num_letters": 7, "letter_embedding_size": 4, "letter_hidden_size": 3}
KINDS: dict[str, Callable[..., tuple[Arrays, Callable[[Arrays], float]]]] = {
    "causal": lambda **has: of_causal(CausalConfig(**SIZES, **has)),
    "tied": lambda **has: of_causal(
        CausalConfig(**SIZES, tie_weights=True, output_layers=1, **has)
    ),
    "labelled": lambda **has: of_causal(CausalConfig(**SIZES, num_labels=3, label_size=4, **has)),
    "cloze": lambda **has: of_cloze(ClozeConfig(**SIZES, output_layers=1, **has)),
    "tagger": lambda **has: of_head(TaggerConfig(**SIZES, num_labels=3, **LETTERS, **has)),
    **{
        f"classifier {pooling}": lambda pooling=pooling, **has: of_head(
            ClassifierConfig(**SIZES, num_labels=3, pooling=pooling, output_layers=1, **has)
        )
        for pooling in POOLINGS
    },
    **{
        f"translator {attention}": lambda attention=attention, **has: of_pairs(
            PairsConfig(**SIZES, source_vocab_size=8, attention=attention, **has)
        )
        for attention in ATTENTIONS
    },
}
# Every cell, in one to three layers.
CASES = [(cell, 1 + at % 3) for at, cell in enumerate(CELLS)] + [("lstm", 3), ("gru", 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_graphs_are_the_equations(kind: str) -> None:
    """In every cell, at three lengths and two batches, states handed on; and other weights fail."""
    for cell, number in CASES:
        arrays, deviation = KINDS[kind](cell=cell, num_layers=number)
        assert deviation(arrays) < checking.MOST
        for name in arrays.keys() & {"softmax.bias", "layers.0.peephole"}:
            array = arrays[name]
            other = array + np.linspace(0, 0.01, array.size).reshape(array.shape)
            with pytest.raises(CharlmError, match="not exact"):
                deviation({**arrays, name: other.astype(np.float32)})


def test_sizes_are_open() -> None:
    """What was exported runs a batch and a time that nobody thought of."""
    config = CausalConfig(**SIZES, num_layers=2)
    graphs = language_models.causal(config, random(parameters.shapes(config), 9))
    run = checking.sessions(graphs)["model.onnx"]
    state = {name: np.zeros((2, 5, 6), np.float32) for name in "hc"}
    ids = np.random.default_rng(0).integers(0, 9, (5, 77))
    whole = run({"ids": ids, **state})
    assert whole["log_probs"].shape == (5, 77, 9)
    steps = []
    for at in range(77):
        found = run({"ids": ids[:, at : at + 1], **state})
        state = {name: found[f"{name}_out"] for name in "hc"}
        steps.append(found["log_probs"])
    assert np.concatenate(steps, axis=1) == pytest.approx(whole["log_probs"], abs=1e-5)
    assert state["c"] == pytest.approx(whole["c_out"], abs=1e-5)


SOME = [*TEXTS, *(f"{a} {b}" for a, b in itertools.permutations(TEXTS[:4], 2))]
TINY: dict[str, Any] = {"steps": 3, "hidden": 8, "seed": 0, "valid_share": 0.0}
LABELS = ["cat" if "cat" in text else "dog" for text in SOME]
TRAININGS: dict[str, dict[str, Any]] = {
    "char": {"texts": SOME, "cell": "gru", "layers": 2},
    "word": {"texts": SOME, "level": "word", "cache": True, "ngram": 2},
    "subword": {"texts": SOME, "level": "subword", "vocab_size": 290},
    "labelled": {"texts": SOME, "labels": LABELS, "min_count": 1},
    "cloze": {"texts": SOME, "task": "cloze", "layers": 2},
    "classifier": {"texts": SOME, "labels": LABELS, "task": "classifier"},
    "tagger": {
        "texts": [text.split() for text in SOME],
        "labels": [["A" if word == "cat" else "B" for word in text.split()] for text in SOME],
        "task": "tagger",
    },
    "translator": {"texts": SOME, "labels": [text[::-1] for text in SOME], "task": "translator"},
}


def printed(directory: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the lines of a README print."""
    (code,) = re.findall(r"```python\n(.*?)```", (directory / "README.md").read_text(), re.DOTALL)
    said = io.StringIO()
    with monkeypatch.context() as patch, contextlib.redirect_stdout(said):
        patch.chdir(directory)
        exec(compile(code, "README.md", "exec"), {})
    return said.getvalue().strip()


@pytest.mark.parametrize("kind", TRAININGS)
def test_the_lines_of_the_readme_run(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And print what charlm says of the same text."""
    model: Any = charlm.train(**TINY, **TRAININGS[kind])
    assert export_onnx(model, tmp_path / "there") < checking.MOST
    said, text = printed(tmp_path / "there", monkeypatch), "The apple"
    if kind == "labelled":
        model = model.with_label(model.labels.names[0])
    if isinstance(model, charlm.LanguageModel):
        model = charlm.LanguageModel(model.checkpoint, alone=True) if kind == "word" else model
        assert float(said) == pytest.approx(model.score(text, closed=True).total_log_prob, abs=1e-3)
    elif kind == "cloze":
        score = model.pseudo_score(text, closed=True)
        assert float(said) == pytest.approx(score.pseudo_log_likelihood, abs=1e-3)
    elif kind == "classifier":
        numbers = [float(one) for one in re.findall(r"(?:float32\()?(0\.\d+)", said)]
        assert numbers == pytest.approx(model.classify([text])[0].tolist(), abs=1e-4)
    elif kind == "tagger":
        assert said == str(model.tag([text.split()])[0])
    else:
        (best,) = model.translate(text, beam=1, max_tokens=99)
        assert said == best.text.strip()


def test_commands_refuse_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no network, a directory that holds something, packages that are missing."""
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("\n".join(SOME))
    good("train", "corpus.txt", "--name", "c", "--ngram", "2", "--counts-only")
    good("train", "corpus.txt", "--name", "n", "--steps", "2", "--hidden", "8", "-q")
    assert "it has no network" in bad(2, "export", "c", "--onnx", "there")
    assert not Path("there").exists()
    assert "README.md says how" in good("export", "n", "--onnx", "there").err
    assert "holds something already" in bad(2, "export", "n", "--onnx", "there")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        UsageError, match=r"needs onnx and onnxruntime: pip install 'charlm\[onnx]'"
    ):
        export_onnx(charlm.load("n"), tmp_path / "new")


WEB = """
const web = require('onnxruntime-web');
web.env.wasm.numThreads = 1;
(async () => {
  const {ids, shape, names} = JSON.parse(process.argv[2]);
  const session = await web.InferenceSession.create(process.argv[1]);
  const whole = BigInt64Array.from(ids.map(BigInt));
  const given = {ids: new web.Tensor('int64', whole, [1, ids.length])};
  const size = shape.reduce((a, b) => a * b);
  for (const name of names) given[name] = new web.Tensor('float32', new Float32Array(size), shape);
  const found = await session.run(given);
  console.log(JSON.stringify(Array.from(found.log_probs.data)));
})();
"""


def has_web() -> bool:
    """Whether node finds onnxruntime-web, in NODE_PATH say."""
    node = shutil.which("node")
    asked = [node, "-e", "require.resolve('onnxruntime-web')"]
    return node is not None and not subprocess.run(asked, capture_output=True).returncode  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.skipif(not has_web(), reason="node finds no onnxruntime-web: npm install, NODE_PATH")
def test_a_browser_engine_runs_them(tmp_path: Path) -> None:
    """onnxruntime-web, in WebAssembly, says the same: two layers of every cell."""
    for cell in CELLS:
        config = CausalConfig(**SIZES, cell=cell, num_layers=2)
        arrays = random(parameters.shapes(config), config.vocab_size)
        made = language_models.causal(config, arrays)["model.onnx"]
        (tmp_path / "model.onnx").write_bytes(made.data)
        names = [port.name for port in made.inputs if port.name in "hc"]
        given = {"ids": [9, 1, 2, 3, 4], "shape": [2, 1, 6], "names": names}
        done = subprocess.run(
            ["node", "-e", WEB, str(tmp_path / "model.onnx"), json.dumps(given)],
            capture_output=True,
            text=True,
            env=os.environ,
        )
        assert done.returncode == 0, done.stderr
        found = np.array(json.loads(done.stdout.splitlines()[-1])).reshape(1, 5, 9)
        state = {name: np.zeros((2, 1, 6), np.float32) for name in names}
        run = checking.sessions({"model.onnx": made})["model.onnx"]
        right = run({"ids": np.array([given["ids"]]), **state})["log_probs"]
        assert found == pytest.approx(right, abs=1e-5)


def test_graphs_are_of_the_network_alone() -> None:
    """A model with a partner is exported without it, and still checked."""
    model: Any = charlm.train(**TINY, texts=SOME, ngram=3)
    graphs, deviation = graphs_of(model)
    assert deviation < checking.MOST
    assert [port.name for port in graphs["model.onnx"].outputs] == ["log_probs", "h_out", "c_out"]
