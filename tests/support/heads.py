"""Classifiers and taggers of tiny problems: their shapes, texts and runs."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from charlm.checkpoints import directory
from charlm.checkpoints.run import Run
from charlm.config import TrainingConfig
from charlm.network_config import ClassifierConfig, HeadConfig, TaggerConfig
from charlm.nn.head import to_arrays
from charlm.tokenizers.word_letters import SpelledWords
from charlm.training.request import Request
from charlm.training.state import counters
from charlm.training.tasks.labelling import HeadState
from charlm.training.texts.example_material import ExampleMaterial
from tests.support.trainers import fit, new_state, prepared, read_texts, state_arrays

KINDS = ("classifier", "tagger")
NAMES = {
    "vowels.txt": "aeio\neoia\nioea\nuaeo\noiae\nouia\naiou\neuia\n",
    "plain.txt": "bcdf\nfdcb\ncdfg\ngfbd\nbdfg\nkmnb\nmnkf\nnmkd\n",
}
TAGGED = "Ada\tB-PER\nsleeps\tO\n\nin\tO\nRome\tB-LOC\n\nAda\tB-PER\nsees\tO\nRome\tB-LOC\n"


def config_of(kind: str, **shape: Any) -> HeadConfig:
    """A tiny shape."""
    sizes = {"vocab_size": 9, "num_labels": 3, "embedding_size": 5, "hidden_size": 4}
    letters = {"num_letters": 7, "letter_embedding_size": 3, "letter_hidden_size": 2}
    if kind == "tagger":
        return TaggerConfig(**{**sizes, **letters, **shape})
    return ClassifierConfig(**{**sizes, **shape})


def material_of(folder: Path, kind: Any) -> ExampleMaterial:
    """A tiny problem that can be learned."""
    if kind == "classifier":
        for name, text in NAMES.items():
            (folder / name).write_text(text)
        asked: dict[str, Any] = {"label_from": "file", "min_count": 1}
        corpus = tuple(str(folder / name) for name in NAMES)
    else:
        (folder / "t.conll").write_text(TAGGED)
        asked, corpus = {}, (str(folder / "t.conll"),)
    request = Request(task=kind, corpus=corpus, valid=corpus, **asked)
    texts = read_texts(request)
    return prepared(request, texts)


def begun(run: Run, material: ExampleMaterial, kind: str, **fields: Any) -> tuple[Any, ...]:
    """A run begun, its shape, its config and its first state."""
    reader = material.reader
    letters = {"num_letters": reader.num_letters} if isinstance(reader, SpelledWords) else {}
    model = config_of(
        kind,
        vocab_size=reader.vocab_size,
        num_labels=len(material.labels),
        **letters,
        dropout=0.2,
        input_dropout=0.1,
    )
    config = TrainingConfig(
        **{
            "num_steps": 12,
            "batch_size": 3,
            "validate_every": 4,
            "warmup_steps": 2,
            "learning_rate": 0.02,
            **fields,
        }
    )
    run.begin({"kind": kind, "model": model.to_json(), "training": config.to_json()})
    return model, config, new_state(model, config)


def same(one: HeadState, another: HeadState) -> None:
    """Bit for bit, the clock left out."""
    for arrays in (lambda s: to_arrays(s.module), state_arrays):
        for name, array in arrays(one).items():
            np.testing.assert_array_equal(array, arrays(another)[name], err_msg=name)
    both = [{**counters(s), "seconds": 0.0} for s in (one, another)]
    assert both[0] == both[1]


def fit_with_poison(
    run: Run, state: HeadState, config: Any, material: Any, bad: set[int], until: int = 99
) -> list[Any]:
    """Train up to a step, the gradients of some steps spoiled; the events."""
    hook = state.module.softmax.bias.register_hook(
        lambda gradient: gradient * math.nan if state.step + 1 in bad else gradient
    )
    told = fit(run, state, config, material, should_stop=lambda: state.step >= until)
    events = list(told)
    hook.remove()
    return events


def outcome(run: Path) -> dict[str, Any]:
    """What a run has come to, the clock left out: every byte of its steps, and its log."""
    found: dict[str, Any] = {"pointers": directory.pointers(run)}
    for step in directory.steps(run):
        path = run / directory.step_name(step)
        counters = json.loads((path / "training.json").read_text())
        names = ("model.safetensors", "training.safetensors")
        found[path.name] = [(path / name).read_bytes() for name in names], counters | {"seconds": 0}
    log = (run / "metrics.jsonl").read_text().splitlines()
    return found | {"log": [json.loads(line) | {"seconds": 0} for line in log]}
