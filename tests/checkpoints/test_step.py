"""Laws of checkpoints: saved whole or not at all, loaded or refused, and never run."""

import hashlib
import json
import os
import pickle
import shutil
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from charlm.checkpoints import directory
from charlm.checkpoints.json_objects import to_json
from charlm.checkpoints.language_model import Checkpoint, known_to_bytes
from charlm.checkpoints.step import FORMAT, load_tokenizer, save_step
from charlm.checkpoints.tensors import arrays_to_bytes
from charlm.errors import CheckpointError
from charlm.nn.causal import from_arrays
from charlm.nn.network import to_arrays
from charlm.text.corpus import sequence_hashes
from charlm.tokenizers import base
from tests.support.steps import forge, read_all, read_manifest, write_manifest
from tests.support.tiny import LEVELS, TEXTS, material_of, model_of, tokenizer_of, trained_run

FILES = {
    "model.json",
    "model.safetensors",
    "tokenizer.json",
    "known.safetensors",
    "training.json",
    "training.safetensors",
}


def files_of(level: str = "char", *, step: int = 1, seed: int = 0) -> dict[str, bytes]:
    """The files of a step with a random model."""
    tokenizer = tokenizer_of(level)
    model = model_of(tokenizer.vocab_size, seed=seed, num_layers=2, tie_weights=True)
    about = {
        "format": FORMAT,
        "step": step,
        "split_on": "line",
        "model": model.config.to_json(),
    }
    return {
        "model.json": to_json(about),
        "model.safetensors": arrays_to_bytes(to_arrays(model)),
        **tokenizer.to_files(),
        "known.safetensors": known_to_bytes(sequence_hashes(TEXTS)),
        "training.json": to_json({"step": step}),
        "training.safetensors": arrays_to_bytes({"exp_avg.x": np.ones(3, np.float32)}),
    }


def changed_json(path: Path, **fields: Any) -> bytes:
    """A JSON file with other fields."""
    return json.dumps({**json.loads(path.read_bytes()), **fields}).encode()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A step saved once; tests work on copies."""
    return save_step(tmp_path_factory.mktemp("run"), 1, files_of())


@pytest.fixture
def step(original: Path, tmp_path: Path) -> Path:
    """A step to be damaged."""
    return Path(shutil.copytree(original, tmp_path / "run" / original.name))


# Saved and loaded


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_loaded_is_what_was_saved(level: str, tmp_path: Path) -> None:
    """Every tensor, the tokenizer, the hashes and the rest come back bit for bit."""
    files = files_of(level, step=12)
    path = save_step(tmp_path / "new" / "run", 12, files)
    assert path == tmp_path / "new" / "run" / "step-00000012"
    loaded = Checkpoint.load(path)
    model = model_of(tokenizer_of(level).vocab_size, num_layers=2, tie_weights=True)
    assert loaded.config == model.config
    assert loaded.weights.keys() == model.state_dict().keys()
    for name, array in to_arrays(model).items():
        assert np.array_equal(loaded.weights[name], array)
    again = from_arrays(loaded.config, loaded.weights)
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())
    assert (loaded.path, loaded.step, loaded.split_on) == (path, 12, "line")
    assert loaded.info == json.loads(files["model.json"])
    assert loaded.known is not None
    assert loaded.known.tolist() == sequence_hashes(TEXTS).tolist()
    for tokenizer in (loaded.tokenizer, load_tokenizer(path)):
        assert tokenizer.level == level
        assert tokenizer.to_files() == tokenizer_of(level).to_files()
        for text in TEXTS:
            assert tokenizer.decode(tokenizer.encode(text)) == text
    progress, tensors = Checkpoint.load(path).load_training()
    assert progress == {"step": 12}
    assert np.array_equal(tensors["exp_avg.x"], np.ones(3, np.float32))
    inputs = torch.tensor([[model.config.vocab_size, 2, 3]])
    assert torch.equal(again(inputs, again.init_state(1))[0], model(inputs, model.init_state(1))[0])


def test_hashes_may_be_missing(step: Path) -> None:
    """A model of whole files has no hashes, and is loaded all the same."""
    forge(step, known_safetensors=None)
    assert Checkpoint.load(step).known is None


def test_the_manifest_tells_size_and_hash_of_every_file(original: Path) -> None:
    """Nothing stands in a step but the manifest and the files it describes."""
    manifest = json.loads((original / "manifest.json").read_bytes())
    assert {path.name for path in original.iterdir()} == {*FILES, "manifest.json"}
    assert manifest["files"].keys() == FILES
    for name, entry in manifest["files"].items():
        data = (original / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def test_only_files_of_a_checkpoint_are_saved(tmp_path: Path) -> None:
    """Another file name is refused before anything is written."""
    for name in ("../x", "/x", "manifest.json", "model.bin"):
        with pytest.raises(ValueError, match="not files of a checkpoint"):
            save_step(tmp_path / "run", 1, {name: b""})
    assert not list(tmp_path.iterdir())


def test_a_step_saved_again_is_the_new_one(tmp_path: Path) -> None:
    """Saving a step that stands already replaces it as a whole."""
    save_step(tmp_path, 1, files_of("char"))
    path = save_step(tmp_path, 1, files_of("word"))
    assert Checkpoint.load(path).tokenizer.level == "word"
    assert [child.name for child in tmp_path.iterdir()] == [path.name]


# Damage


def test_a_file_made_longer_is_refused(step: Path) -> None:
    """A byte too many is damage as well."""
    for name in FILES:
        data = (step / name).read_bytes()
        (step / name).write_bytes(data + b"\n")
        with pytest.raises(CheckpointError, match=name):
            read_all(step)
        (step / name).write_bytes(data)


def test_the_step_in_the_manifest_counts(step: Path) -> None:
    """A manifest of another step is refused."""
    for other in (2, None, "1"):
        write_manifest(step, {**read_manifest(step), "step": other})
        with pytest.raises(CheckpointError, match=r"manifest\.json"):
            Checkpoint.load(step)


@pytest.mark.parametrize("name", sorted({*FILES, "manifest.json"} - {"known.safetensors"}))
def test_a_missing_file_is_named(step: Path, name: str) -> None:
    """A file that is gone, with its line in the manifest or without, is a CheckpointError."""
    key = name.replace(".", "_")
    if name != "manifest.json":
        shutil.copytree(step, step.with_name("step-00000002"))
        forge(step.with_name("step-00000002"), **{key: None})
        with pytest.raises(CheckpointError, match=name):
            read_all(step.with_name("step-00000002"))
    (step / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        read_all(step)


@pytest.mark.parametrize("extra", ["../../etc/passwd", "/etc/passwd", "model.pt", "", "x" * 10_000])
def test_no_other_name_stands_in_a_manifest(step: Path, extra: str) -> None:
    """A manifest that lists any other name is refused, and the name is not looked up."""
    manifest = read_manifest(step)
    manifest["files"][extra] = manifest["files"]["model.json"]
    write_manifest(step, manifest)
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        Checkpoint.load(step)
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        load_tokenizer(step)


HOSTILE_JSON = {
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "string": b'"x"',
    "not utf-8": b'{"a": "\xff"}',
    "deep list": b'{"files":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "deep object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "NaN": b'{"format": 1, "files": {}, "step": NaN}',
    "Infinity": b'{"format": 1, "files": {}, "step": -Infinity}',
    "overflow": b'{"format": 1, "files": {}, "step": 1e999}',
    "many digits": b'{"format": 1, "files": {}, "step": ' + b"9" * 5000 + b"}",
    "pickle": pickle.dumps({"format": 1}),
}


@pytest.mark.parametrize("data", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
@pytest.mark.parametrize("name", ["manifest.json", "model.json", "training.json", "tokenizer.json"])
def test_hostile_json_is_refused(step: Path, name: str, data: bytes) -> None:
    """JSON that is none, of another kind, too deep or not finite is refused by name, even where
    the manifest vouches for it.
    """
    if name == "manifest.json":
        (step / name).write_bytes(data)
    else:
        forge(step, **{name.replace(".", "_"): data})
    with pytest.raises(CheckpointError, match=name):
        read_all(step)


@pytest.mark.parametrize(
    "entry",
    [None, 1, [], {}, "x", {"size": 1}, {"sha256": 1, "size": []}, {"size": 10**30, "sha256": ""}],
)
def test_hostile_manifest_entries_are_refused(step: Path, entry: object) -> None:
    """An entry that is not the size and hash of the file is refused."""
    manifest = read_manifest(step)
    manifest["files"]["model.safetensors"] = entry
    write_manifest(step, manifest)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        Checkpoint.load(step)


@pytest.mark.parametrize("files", [None, [], "x", 3, [["model.json", {}]]])
@pytest.mark.parametrize("number", [0, 2, "1", None, [1]])
def test_hostile_manifests_are_refused(step: Path, files: object, number: object) -> None:
    """Other kinds of lists, and other formats, are refused."""
    for fields in ({"files": files}, {"format": number}):
        path = Path(shutil.copytree(step, step.parent / f"step-0000000{len(fields)}9"))
        loaded = Checkpoint.load(path)
        write_manifest(path, {**read_manifest(path), **fields})
        for read in (
            Checkpoint.load,
            load_tokenizer,
            lambda _, saved=loaded: saved.load_training(),
        ):
            with pytest.raises(CheckpointError, match=r"manifest\.json"):
                read(path)
        shutil.rmtree(path)


HUGE = 10**400  # no float holds it
HOSTILE_MODELS = [
    {"vocab_size": 10**7, "hidden_size": 65_536, "num_layers": 64, "embedding_size": 65_536},
    {"hidden_size": 65_536},
    {"hidden_size": 10**12},
    {"hidden_size": HUGE},
    {"dropout": HUGE},
    {"dropout": "0"},
    {"hidden_size": -1},
    {"hidden_size": 16.0},
    {"hidden_size": True},
    {"hidden_size": None},
    {"num_layers": 1},
    {"num_layers": 3},
    {"cell": "gru"},
    {"cell": "__import__('os')"},
    {"cell": []},
    {"cell": {}},
    {"tie_weights": 1},
    {"tie_weights": False},
    {"output_layers": 1},
    {"embedding_size": 9},
    {"vocab_size": 4},
    {"unknown": 1},
]


@pytest.mark.parametrize("fields", HOSTILE_MODELS, ids=lambda f: ",".join(f))
def test_a_hostile_model_shape_is_refused(step: Path, fields: dict[str, Any]) -> None:
    """Sizes out of range, of another type, or not those of the weights: refused, nothing of that
    size allocated, although the manifest is right.
    """
    shape = {**json.loads((step / "model.json").read_bytes())["model"], **fields}
    forge(step, model_json=changed_json(step / "model.json", model=shape))
    with pytest.raises(CheckpointError, match=r"model\.|types") as caught:
        Checkpoint.load(step)
    assert str(step) in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"format": 2},
        {"format": None},
        {"model": None},
        {"model": []},
        {"model": {}},
        {"split_on": "word"},
        {"split_on": []},
        {"step": "1"},
        {"step": 1.5},
        {"step": None},
        {"step": 2},
    ],
)
def test_a_hostile_model_json_is_refused(step: Path, fields: dict[str, Any]) -> None:
    """Fields of model.json of another kind are refused, although the manifest is right."""
    forge(step, model_json=changed_json(step / "model.json", **fields))
    with pytest.raises(CheckpointError, match=r"model\.json"):
        Checkpoint.load(step)


def reshaped(data: bytes, change: Callable[[dict[str, torch.Tensor]], object]) -> bytes:
    """The file of tensors after a change."""
    tensors = safetensors.torch.load(data)
    change(tensors)
    return safetensors.torch.save({k: v.contiguous() for k, v in tensors.items()})


NAME = "softmax.bias"
HOSTILE_TENSORS: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "missing": lambda t: t.pop(NAME),
    "extra": lambda t: t.update(extra=torch.zeros(1)),
    "other name": lambda t: t.update({"x": t.pop(NAME)}),
    "shorter": lambda t: t.update({NAME: t[NAME][:-1]}),
    "broadcastable": lambda t: t.update({NAME: t[NAME][:1]}),
    "deeper": lambda t: t.update({NAME: t[NAME][None]}),
    "none": lambda t: t.clear(),
    **{
        str(dtype): lambda t, dtype=dtype: t.update({NAME: t[NAME].to(dtype)})
        for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool)
    },
    **{
        str(value): lambda t, value=value: t[NAME].__setitem__(0, value)
        for value in (float("nan"), float("inf"), float("-inf"))
    },
    "nan at the end": lambda t: t["embedding.weight"][-1].__setitem__(-1, float("nan")),
}


@pytest.mark.parametrize("change", HOSTILE_TENSORS.values(), ids=HOSTILE_TENSORS)
def test_other_weights_are_refused(
    step: Path, change: Callable[[dict[str, torch.Tensor]], object]
) -> None:
    """Weights of other names, shapes or types, or not finite, are refused although the manifest
    is right.
    """
    data = (step / "model.safetensors").read_bytes()
    assert reshaped(data, lambda _: None)  # the unchanged ones load
    forge(step, model_safetensors=reshaped(data, change))
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        Checkpoint.load(step)


def headed(header: object, body: bytes = b"") -> bytes:
    """A safetensors file with any header."""
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(data)) + data + body


HOSTILE_HEADERS = {
    "empty": b"",
    "short": b"\x01",
    "length": struct.pack("<Q", 2**63) + b"{}",
    "no json": headed(b"{"),
    "list": headed([]),
    "deep": headed(b"[" * 100_000),
    "dtype": headed({"a": {"dtype": "X", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
    "f8": headed({"a": {"dtype": "F8_E5M2", "shape": [1], "data_offsets": [0, 1]}}, b"1"),
    "huge": headed({"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}}),
    "wide": headed({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}, b"1234"),
    "negative": headed({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"1234"),
    "backwards": headed({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"1234"),
    "shared": headed(
        {x: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for x in "ab"}, b"1234"
    ),
    "pickle": pickle.dumps({"a": 1}),
    "zip": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("data", HOSTILE_HEADERS.values(), ids=HOSTILE_HEADERS)
@pytest.mark.parametrize("name", ["model", "known", "training"])
def test_hostile_tensor_files_are_refused(step: Path, name: str, data: bytes) -> None:
    """Headers that lie about sizes and types are refused although the manifest is right."""
    forge(step, **{f"{name}_safetensors": data})
    if (name, data) == ("training", HOSTILE_HEADERS["f8"]):
        return  # a sound file; whether its tensors fit is the trainer's to say
    with pytest.raises(CheckpointError, match=rf"{name}\.safetensors"):
        read_all(step)


def test_hashes_of_another_kind_are_refused(step: Path) -> None:
    """The hashes are one row of 64-bit numbers."""
    for array in (np.zeros(3), np.zeros((2, 2), np.uint64), np.zeros(3, np.int64)):
        forge(step, known_safetensors=known_to_bytes(array))
        with pytest.raises(CheckpointError, match=r"known\.safetensors"):
            Checkpoint.load(step)


def test_a_tokenizer_of_another_size_is_refused(step: Path) -> None:
    """Tokenizer and model must agree on the number of types."""
    forge(step, tokenizer_json=tokenizer_of("char", ["abc"]).to_files()["tokenizer.json"])
    with pytest.raises(CheckpointError, match=r"tokenizer\.json has 5 types"):
        Checkpoint.load(step)


def test_a_huge_file_is_not_read(step: Path) -> None:
    """A file past the limits, here one of holes, is refused without being read."""
    sizes = {"model.json": 2**31, "manifest.json": 2**31, "model.safetensors": 2**35}
    for name, size in sizes.items():
        data = (step / name).read_bytes()
        os.truncate(step / name, size)
        with pytest.raises(CheckpointError, match=f"{name} is not a file of a checkpoint"):
            Checkpoint.load(step)
        (step / name).write_bytes(data)


@pytest.fixture
def impatient() -> Iterator[None]:
    """A test that waits longer than ten seconds fails."""

    def fail(*_: object) -> None:
        raise AssertionError("it waits")  # not a TimeoutError, which is an OSError

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", sorted({*FILES, "manifest.json"}))
@pytest.mark.parametrize("kind", ["link", "dangling", "loop", "directory", "fifo", "device"])
def test_what_is_no_plain_file_is_refused(step: Path, name: str, kind: str) -> None:
    """A link, even to the right bytes, a directory, a pipe or a device is refused, without
    waiting on it.
    """
    path = step / name
    kept = path.rename(step.parent / name)
    if kind == "link":
        path.symlink_to(kept)
    elif kind == "dangling":
        path.symlink_to(step / "nowhere")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match=name):
        read_all(step)


def test_a_trained_run_loads_from_anywhere(tmp_path: Path) -> None:
    """A step is whole in itself: copied elsewhere, under another name, it loads the same."""
    run = trained_run(tmp_path / "run", material=material_of(), num_steps=3)
    (step,) = (run / directory.step_name(number) for number in directory.steps(run))
    copied = Path(shutil.copytree(step, tmp_path / "elsewhere"))
    one, other = Checkpoint.load(step), Checkpoint.load(copied)
    assert one.step == other.step == 3
    assert one.tokenizer.unk_id == base.UNK_ID
    assert one.weights.keys() == other.weights.keys()
    for name, array in one.weights.items():
        assert np.array_equal(array, other.weights[name])
