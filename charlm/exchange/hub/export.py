"""Writing a model as a directory of the hub's layout, which ``charlm.load`` reads.

    README.md            the card
    config.json          what the model is, for programs
    model.safetensors    the weights
    tokenizer.json       for the library tokenizers, where that can cut as charlm does
    pointers.json        which step there is, as of any run
    step-NNNNNNNN/       what charlm needs beside the weights, each file with its SHA-256

What was saved to go on with training stays behind, and so does what tells of single sequences of
the training text: its index and its hashes.
"""

import json
from pathlib import Path

from charlm.checkpoints import directory as runs
from charlm.checkpoints.json_objects import to_json
from charlm.checkpoints.manifest import MANIFEST, entry_of, manifest_bytes
from charlm.checkpoints.step import FORMAT, WEIGHTS, StepFiles
from charlm.exchange.files import check_new, write_directory
from charlm.exchange.hub.card import card
from charlm.exchange.hub.tokenizer_json import tokenizer_json
from charlm.models.kinds import kind_of
from charlm.models.load import AnyModel
from charlm.models.translator import Translator

_LEFT_OUT = ("training.json", "training.safetensors", "known.safetensors")


def export_hub(model: AnyModel, directory: Path) -> str:
    """Write a model into a new directory; returns what is to be said of its tokenizer.

    Raises UsageError if the directory is not empty, CharlmError if the disk refuses.
    """
    check_new(directory)
    checkpoint = model.checkpoint
    step = StepFiles(checkpoint.path)
    files = step.read(*(name for name in step if name not in _LEFT_OUT))
    entries = {name: entry_of(data) for name, data in files.items()}
    about = {"format": FORMAT, "run_id": step.run_id, "step": step.step}
    weights = files.pop(WEIGHTS, None)
    folder = runs.step_name(step.step)
    shared: dict[str, bytes] = {f"{folder}/{name}": data for name, data in files.items()}
    shared[f"{folder}/{MANIFEST}"] = manifest_bytes(about, entries)
    if weights is not None:
        shared[WEIGHTS] = weights
    if isinstance(model, Translator):
        found, said = None, "no tokenizer.json: a translator has two"
    else:
        found, said = tokenizer_json(checkpoint.tokenizer)
    is_finished = runs.is_finished(checkpoint.path.parent)
    pointers = {"latest": step.step, "best": step.step, "finished": is_finished}
    shared["pointers.json"] = to_json(pointers)
    if found is not None:
        shared["tokenizer.json"] = _json(found)
    shared["config.json"] = _json(
        {"model_type": "charlm", "kind": kind_of(model), **checkpoint.config.to_json()}
    )
    shared["README.md"] = card(model, directory.resolve().name).encode()
    write_directory(directory, shared)
    return said


def _json(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()
