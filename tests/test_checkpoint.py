"""Laws of checkpoints: saved whole or not at all, loaded or refused, and never run."""

import ast
import hashlib
import json
import os
import pickle
import random
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
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import LEVELS, TEXTS, material_of, model_of, tokenizer_of, trained_run

import charlm
from charlm import checkpoint
from charlm.corpus import sequence_hashes
from charlm.errors import CheckpointError, UsageError
from charlm.model import from_arrays, to_arrays
from charlm.tokenizers import base

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
        "format": checkpoint.FORMAT,
        "step": step,
        "split_on": "line",
        "model": model.config.to_json(),
    }
    return {
        "model.json": checkpoint.to_json(about),
        "model.safetensors": checkpoint.arrays_to_bytes(to_arrays(model)),
        **tokenizer.to_files(),
        "known.safetensors": checkpoint.known_to_bytes(sequence_hashes(TEXTS)),
        "training.json": checkpoint.to_json({"step": step}),
        "training.safetensors": checkpoint.arrays_to_bytes({"exp_avg.x": np.ones(3, np.float32)}),
    }


def read_all(path: Path) -> None:
    """Load everything that can be loaded of a step."""
    checkpoint.load(path)
    checkpoint.load_tokenizer(path)
    checkpoint.load_training(path)


def forge(path: Path, **changed: bytes | None) -> None:
    """Change files of a step (None takes one away), the manifest made to fit.

    ``model_json`` stands for model.json.
    """
    manifest = json.loads((path / "manifest.json").read_bytes())
    for key, data in changed.items():
        name = key.replace("_", ".")
        if data is None:
            (path / name).unlink()
            del manifest["files"][name]
            continue
        (path / name).write_bytes(data)
        manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    (path / "manifest.json").write_text(json.dumps(manifest))


def changed_json(path: Path, **fields: Any) -> bytes:
    """A JSON file with other fields."""
    return json.dumps({**json.loads(path.read_bytes()), **fields}).encode()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A step saved once; tests work on copies."""
    return checkpoint.save_step(tmp_path_factory.mktemp("run"), 1, files_of())


@pytest.fixture
def step(original: Path, tmp_path: Path) -> Path:
    """A step to be damaged."""
    return Path(shutil.copytree(original, tmp_path / "run" / original.name))


# Saved and loaded


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_loaded_is_what_was_saved(level: str, tmp_path: Path) -> None:
    """Every tensor, the tokenizer, the hashes and the rest come back bit for bit."""
    files = files_of(level, step=12)
    path = checkpoint.save_step(tmp_path / "new" / "run", 12, files)
    assert path == tmp_path / "new" / "run" / "step-00000012"
    loaded = checkpoint.load(path)
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
    for tokenizer in (loaded.tokenizer, checkpoint.load_tokenizer(path)):
        assert tokenizer.level == level
        assert tokenizer.to_files() == tokenizer_of(level).to_files()
        for text in TEXTS:
            assert tokenizer.decode(tokenizer.encode(text)) == text
    progress, tensors = checkpoint.load_training(path)
    assert progress == {"step": 12}
    assert np.array_equal(tensors["exp_avg.x"], np.ones(3, np.float32))
    inputs = torch.tensor([[model.config.vocab_size, 2, 3]])
    assert torch.equal(again(inputs, again.init_state(1))[0], model(inputs, model.init_state(1))[0])


def test_hashes_may_be_missing(step: Path) -> None:
    """A model of whole files has no hashes, and is loaded all the same."""
    forge(step, known_safetensors=None)
    assert checkpoint.load(step).known is None


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
            checkpoint.save_step(tmp_path / "run", 1, {name: b""})
    assert not list(tmp_path.iterdir())


def test_a_step_saved_again_is_the_new_one(tmp_path: Path) -> None:
    """Saving a step that stands already replaces it as a whole."""
    checkpoint.save_step(tmp_path, 1, files_of("char"))
    path = checkpoint.save_step(tmp_path, 1, files_of("word"))
    assert checkpoint.load(path).tokenizer.level == "word"
    assert [child.name for child in tmp_path.iterdir()] == [path.name]


# Damage


def test_a_file_cut_short_is_refused(step: Path) -> None:
    """Each file, cut to any of many lengths, is refused by its name, and none other is blamed."""
    rng = random.Random(1)
    for name in (*sorted(FILES), "manifest.json"):
        data = (step / name).read_bytes()
        for length in {0, 1, 8, len(data) // 2, len(data) - 1, *rng.sample(range(len(data)), 12)}:
            if name == "manifest.json" and not data[length:].strip():
                continue  # without its last newline it is the same JSON
            (step / name).write_bytes(data[:length])
            with pytest.raises(CheckpointError, match=name):
                read_all(step)
        (step / name).write_bytes(data)
    read_all(step)


def test_a_file_made_longer_is_refused(step: Path) -> None:
    """A byte too many is damage as well."""
    for name in FILES:
        data = (step / name).read_bytes()
        (step / name).write_bytes(data + b"\n")
        with pytest.raises(CheckpointError, match=name):
            read_all(step)
        (step / name).write_bytes(data)


def test_one_flipped_bit_is_always_found(step: Path) -> None:
    """A bit flipped anywhere, the manifest included, is a CheckpointError naming a file: no other
    exception, and never a model.
    """
    rng = random.Random(2)
    for name in (*sorted(FILES), "manifest.json"):
        data = (step / name).read_bytes()
        bits = 8 * len(data)
        chosen = range(bits) if name == "manifest.json" else rng.sample(range(bits), 60)
        for bit in chosen if len(chosen) < 500 else rng.sample(chosen, 500):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            (step / name).write_bytes(damaged)
            named = r"manifest\.json|" + "|".join(FILES) if name == "manifest.json" else name
            with pytest.raises(CheckpointError, match=named):
                read_all(step)
        (step / name).write_bytes(data)
    read_all(step)


def test_the_step_in_the_manifest_counts(step: Path) -> None:
    """A manifest of another step is refused."""
    for other in (2, None, "1"):
        (step / "manifest.json").write_bytes(changed_json(step / "manifest.json", step=other))
        with pytest.raises(CheckpointError, match=r"manifest\.json"):
            checkpoint.load(step)


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
    manifest = json.loads((step / "manifest.json").read_bytes())
    manifest["files"][extra] = manifest["files"]["model.json"]
    (step / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        checkpoint.load(step)
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        checkpoint.load_tokenizer(step)


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
    manifest = json.loads((step / "manifest.json").read_bytes())
    manifest["files"]["model.safetensors"] = entry
    (step / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        checkpoint.load(step)


@pytest.mark.parametrize("files", [None, [], "x", 3, [["model.json", {}]]])
@pytest.mark.parametrize("number", [0, 2, "1", None, [1]])
def test_hostile_manifests_are_refused(step: Path, files: object, number: object) -> None:
    """Other kinds of lists, and other formats, are refused."""
    for fields in ({"files": files}, {"format": number}):
        path = Path(shutil.copytree(step, step.parent / f"step-0000000{len(fields)}9"))
        (path / "manifest.json").write_bytes(changed_json(path / "manifest.json", **fields))
        for read in (checkpoint.load, checkpoint.load_tokenizer, checkpoint.load_training):
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
        checkpoint.load(step)
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
        checkpoint.load(step)


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
        checkpoint.load(step)


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
        forge(step, known_safetensors=checkpoint.known_to_bytes(array))
        with pytest.raises(CheckpointError, match=r"known\.safetensors"):
            checkpoint.load(step)


def test_a_tokenizer_of_another_size_is_refused(step: Path) -> None:
    """Tokenizer and model must agree on the number of types."""
    forge(step, tokenizer_json=tokenizer_of("char", ["abc"]).to_files()["tokenizer.json"])
    with pytest.raises(CheckpointError, match="tokenizer has 5 types"):
        checkpoint.load(step)


def test_a_huge_file_is_not_read(step: Path) -> None:
    """A file past the limits, here one of holes, is refused without being read."""
    sizes = {"model.json": 2**31, "manifest.json": 2**31, "model.safetensors": 2**35}
    for name, size in sizes.items():
        data = (step / name).read_bytes()
        os.truncate(step / name, size)
        with pytest.raises(CheckpointError, match=f"{name} is not a file of a checkpoint"):
            checkpoint.load(step)
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


class _Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.canary,))


@pytest.mark.parametrize("name", [*sorted({*FILES, "manifest.json"}), "tokenizer.model"])
def test_a_pickle_is_never_run(step: Path, name: str, tmp_path: Path) -> None:
    """Pickles and torch files under any name are refused and not opened as such."""
    canary = tmp_path / "canary"
    pickle.loads(pickle.dumps(_Bomb(canary)))
    assert canary.exists()  # the bomb works
    canary.unlink()
    torch.save(_Bomb(canary), tmp_path / "bomb.pt")
    if name == "tokenizer.model":
        shutil.rmtree(step)
        checkpoint.save_step(step.parent, 1, files_of("subword"))
    for data in (pickle.dumps(_Bomb(canary)), (tmp_path / "bomb.pt").read_bytes()):
        if name == "manifest.json":
            (step / name).write_bytes(data)
        else:
            forge(step, **{name.replace(".", "_"): data})
        with pytest.raises(CheckpointError):
            read_all(step)
        assert not canary.exists()


FORBIDDEN_MODULES = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_ATTRIBUTES = {
    ("torch", "load"),
    ("torch", "save"),
    ("np", "load"),
    ("numpy", "load"),
    ("np", "fromfile"),
    ("os", "system"),
}


def dangers(source: str) -> list[str]:
    """What in a source could run code from data."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{name}" for name in names)]
            found += [n for n in names if n.split(".")[0] in FORBIDDEN_MODULES]
            found += [n for n in names if n in ("torch.load", "torch.save", "numpy.load")]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found += [node.func.id] if node.func.id in FORBIDDEN_CALLS else []
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            pair = (node.value.id, node.attr)
            found += [".".join(pair)] if pair in FORBIDDEN_ATTRIBUTES else []
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found.append("allow_pickle")
    return found


def test_the_package_has_nothing_that_runs_data() -> None:
    """No pickle, torch.load, np.load, eval, exec, yaml, marshal or shelve anywhere in charlm."""
    sources = list(Path(charlm.__file__).parent.rglob("*.py"))
    assert len(sources) > 20
    assert [(path, found) for path in sources if (found := dangers(path.read_text()))] == []
    for bad in (
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load(x)",
        "from torch import load",
        "np.load(f)",
        "eval(x)",
        "def f():\n import yaml",
        "g(allow_pickle=True)",
    ):
        assert dangers(bad)


# Writing that fails


class Crashed(BaseException):
    """The machine stops here."""


class Operations:
    """Counts what save_step does to the disk; the k-th operation fails."""

    def __init__(self, patch: pytest.MonkeyPatch, fail_at: int, error: BaseException) -> None:
        self.done: list[str] = []
        self.fail_at, self.error = fail_at, error
        for owner, name in (
            (checkpoint, "_write_synced"),
            (checkpoint, "_sync_directory"),
            (checkpoint.shutil, "rmtree"),
            (Path, "mkdir"),
            (Path, "rename"),
            (Path, "replace"),
            (Path, "unlink"),
        ):
            patch.setattr(owner, name, self.counted(name, getattr(owner, name)))

    def counted(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        """The operation, unless it is the one that fails."""

        def run(*args: Any, **kwargs: Any) -> Any:
            self.done.append(name)
            if len(self.done) - 1 == self.fail_at:
                if name == "_write_synced":  # half of it got there
                    args[0].write_bytes(args[1][: len(args[1]) // 2])
                raise self.error
            return operation(*args, **kwargs)

        return run


def save_and_rotate(run: Path, step: int) -> None:
    """What a run does when it saves: the step, the pointers, what is old."""
    checkpoint.save_step(run, step, files_of(step=step, seed=step))
    checkpoint.write_json(run / "pointers.json", {"latest": step, "best": step, "finished": False})
    checkpoint.remove_steps(run, {step})


def test_a_failing_disk_costs_nothing_saved_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC at the k-th write, for every k: the earlier step loads, nothing is left behind, and
    the message says what to do.
    """
    save_and_rotate(tmp_path, 1)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    messages: list[str] = []
    for k in range(100):
        with monkeypatch.context() as patch:
            written = checkpoint._write_synced
            calls = 0

            def full(path: Path, data: bytes, k: int = k, written: Any = written) -> None:
                nonlocal calls
                calls += 1
                if calls - 1 == k:
                    path.write_bytes(data[: len(data) // 2])
                    raise OSError(28, "No space left on device")
                written(path, data)

            patch.setattr(checkpoint, "_write_synced", full)
            try:
                checkpoint.save_step(tmp_path, 2, files_of(step=2))
            except CheckpointError as error:
                messages.append(str(error))
            else:
                break
        assert sorted(path.name for path in tmp_path.rglob("*")) == before
        read_all(checkpoint.best_step(tmp_path))
    assert len(messages) == len(FILES) + 1
    for message in messages:
        assert all(part in message for part in ("No space left", "make room", "--resume"))
    assert checkpoint.steps(tmp_path) == [1, 2]


def test_what_reads_back_wrong_is_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that loses bytes silently is found out before the step gets its name."""
    written = checkpoint._write_synced
    monkeypatch.setattr(
        checkpoint,
        "_write_synced",
        lambda path, data: written(path, data[:-1] if path.name == "model.safetensors" else data),
    )
    with pytest.raises(CheckpointError, match=r"cannot save .*step-00000001"):
        checkpoint.save_step(tmp_path, 1, files_of())
    assert not list(tmp_path.iterdir())


def test_a_pointer_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """write_json replaces a file or leaves it, and nothing beside it."""
    path = tmp_path / "pointers.json"
    checkpoint.write_json(path, {"best": 1})
    for k in range(2):
        with monkeypatch.context() as patch:
            Operations(patch, k, OSError(28, "No space left on device"))
            with pytest.raises(CheckpointError, match=r"pointers\.json: No space left"):
                checkpoint.write_json(path, {"best": 2})
        assert checkpoint.read_json(path) == {"best": 1}
        assert [child.name for child in tmp_path.iterdir()] == ["pointers.json"]
    checkpoint.write_json(path, {"best": 2})
    assert checkpoint.read_json(path) == {"best": 2}
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoint.write_json(path, {"best": float("nan")})
    assert checkpoint.read_json(path) == {"best": 2}


def test_a_crash_at_any_point_leaves_the_old_step_or_the_new(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever operation is the last before the machine stops, a whole step can be found and
    loaded, and the next save clears away what was left.
    """
    crashes = 0
    for k in range(200):
        run = tmp_path / str(k)
        save_and_rotate(run, 1)
        with monkeypatch.context() as patch:
            operations = Operations(patch, k, Crashed())
            try:
                save_and_rotate(run, 2)
            except Crashed:
                crashes += 1
            else:
                break
        path = checkpoint.find(str(run))
        loaded = checkpoint.load(path)
        assert loaded.step in (1, 2)
        assert path.name == checkpoint.step_name(loaded.step)
        for there in checkpoint.steps(run):
            read_all(run / checkpoint.step_name(there))
        save_and_rotate(run, 3)
        assert sorted(child.name for child in run.iterdir()) == ["pointers.json", "step-00000003"]
    assert crashes == len(operations.done)
    assert {"_write_synced", "_sync_directory", "mkdir", "rename", "replace", "rmtree"} <= {
        *operations.done
    }


def test_a_file_is_on_the_disk_before_its_step_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file is synced, the manifest last, then the directory, then comes the name."""
    events: list[str] = []
    written, rename, fsync = checkpoint._write_synced, Path.rename, os.fsync
    monkeypatch.setattr(
        checkpoint,
        "_write_synced",
        lambda path, data: (events.append(path.name), written(path, data)),
    )
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("fsync"), fsync(fd)))
    monkeypatch.setattr(Path, "rename", lambda a, b: (events.append("rename"), rename(a, b))[-1])
    checkpoint.save_step(tmp_path, 1, files_of())
    names = events[: 2 * (len(FILES) + 1)]
    assert names[1::2] == ["fsync"] * (len(FILES) + 1)
    assert {*names[:-2:2]} == FILES
    assert names[-2] == "manifest.json"
    assert events[len(names) :] == ["fsync", "rename", "fsync"]


def test_remove_steps_keeps_what_it_is_told(tmp_path: Path) -> None:
    """Only steps that are not kept and leftovers go; a link is not followed."""
    run, outside = tmp_path / "run", tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    for number in (1, 2, 3, 10):
        checkpoint.save_step(run, number, {"training.json": b"{}\n"})
    (run / ".tmp-dir").mkdir()
    (run / ".tmp-file").touch()
    (run / "notes.txt").touch()
    (run / "step-00000004").symlink_to(outside)
    checkpoint.remove_steps(run, {2, 10})
    assert checkpoint.steps(run) == [2, 10]
    assert (run / "notes.txt").exists()
    assert (outside / "precious").exists()
    left = {path.name for path in run.iterdir() if not path.is_symlink()}
    assert left == {"step-00000002", "step-00000010", "notes.txt"}


# Names and places


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "/x",
        "a/b",
        "a\\b",
        ".hidden",
        "-x",
        "a b",
        "a\n",
        "a\0",
        "\x1b[31m",
        "é",
        "x" * 101,
        "~",
        "a:b",
        "$HOME",
        "*",
    ],
)
def test_names_that_could_lead_elsewhere_are_refused(name: str) -> None:
    """A run's name has no separator, no leading dot or dash and no odd character."""
    with pytest.raises(UsageError) as caught:
        checkpoint.check_name(name)
    assert str(caught.value).isprintable()


@settings(max_examples=200, deadline=None)
@given(name=st.text(max_size=12) | st.from_regex(r"[A-Za-z0-9._/-]{1,12}", fullmatch=True))
def test_an_accepted_name_stays_below_its_directory(name: str) -> None:
    """A name that is accepted is one component of a path, directly below the root."""
    try:
        accepted = checkpoint.check_name(name)
    except UsageError:
        return
    root = Path("/checkpoints")
    assert accepted == name
    assert Path(os.path.normpath(root / name)).parent == root


def finished(run: Path, step: int, *, done: bool, best: object = None, age: int = 0) -> None:
    """A run with one step more."""
    checkpoint.save_step(run, step, {"training.json": b"{}\n"})
    pointers = {"latest": step, "best": step if best is None else best, "finished": done}
    checkpoint.write_json(run / "pointers.json", pointers)
    os.utime(run / "pointers.json", (1_000_000 - age, 1_000_000 - age))


def test_find_takes_a_name_a_run_or_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name below the root, a path to a run (its best step), or a path to a step."""
    root = tmp_path / "checkpoints"
    finished(root / "a", 1, done=True)
    finished(root / "a", 2, done=True, best=1)
    step = root / "a" / "step-00000001"
    assert checkpoint.find("a", root) == step
    assert checkpoint.find(str(root / "a"), tmp_path / "other") == step
    assert checkpoint.find(str(root / "a" / "step-00000002")).name == "step-00000002"
    assert checkpoint.find("a/step-00000002", root).name == "step-00000002"
    monkeypatch.chdir(tmp_path)
    assert checkpoint.find("a").name == step.name
    assert checkpoint.find("checkpoints/a").name == step.name
    assert checkpoint.find(None).name == step.name


def test_find_without_a_name_takes_the_newest_finished(tmp_path: Path) -> None:
    """None is the newest finished run, and where none is finished the newest."""
    finished(tmp_path / "old", 1, done=False, age=30)
    finished(tmp_path / "new", 1, done=False, age=10)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert checkpoint.find(None, tmp_path).parent.name == "new"
    finished(tmp_path / "done", 1, done=True, age=40)
    finished(tmp_path / "older", 1, done=True, age=50)
    assert checkpoint.find(None, tmp_path).parent.name == "done"
    assert [run.name for run in checkpoint.runs(tmp_path)] == ["new", "old", "done", "older"]
    assert checkpoint.is_finished(tmp_path / "done")
    assert not checkpoint.is_finished(tmp_path / "new")
    assert not checkpoint.is_finished(tmp_path / "empty")


@pytest.mark.parametrize("name", ["c", "", "..", "a\0b", "x" * 5000, "/dev/null", "step-00000001"])
def test_find_says_what_there_is(tmp_path: Path, name: str) -> None:
    """What is not there is a CheckpointError that lists what is, whatever the name looks like."""
    root = tmp_path / "checkpoints"
    with pytest.raises(CheckpointError, match="Train one first"):
        checkpoint.find(None, root)
    with pytest.raises(CheckpointError, match="none"):
        checkpoint.find(name, root)
    finished(root / "one", 1, done=True)
    finished(root / "two", 1, done=True, age=10)
    with pytest.raises(CheckpointError, match="one, two"):
        checkpoint.find(name, root)


@pytest.mark.parametrize(
    "pointers",
    [
        b"",
        b"{",
        b"[]",
        b'{"best": 7}',
        b'{"best": null}',
        b'{"best": 3.0}',
        b'{"best": true}',
        b'{"best": [3]}',
        b'{"best": {}}',
        b'{"best": "3"}',
        b"\xff",
    ],
)
def test_best_step_falls_back_to_the_last(tmp_path: Path, pointers: bytes) -> None:
    """Where pointers.json is missing, damaged or points nowhere, the last step is taken."""
    for number in (1, 3):
        checkpoint.save_step(tmp_path, number, {"training.json": b"{}\n"})
    assert checkpoint.best_step(tmp_path).name == "step-00000003"
    (tmp_path / "pointers.json").write_bytes(b'{"best": 1}')
    assert checkpoint.best_step(tmp_path).name == "step-00000001"
    (tmp_path / "pointers.json").write_bytes(pointers)
    assert checkpoint.best_step(tmp_path).name == "step-00000003"
    assert not checkpoint.is_finished(tmp_path)


def test_best_step_of_nothing(tmp_path: Path) -> None:
    """A run without a finished save has no best step."""
    with pytest.raises(CheckpointError, match="holds no finished save"):
        checkpoint.best_step(tmp_path)
    assert checkpoint.steps(tmp_path / "nowhere") == []
    assert checkpoint.runs(tmp_path / "nowhere") == []


def test_a_trained_run_loads_from_anywhere(tmp_path: Path) -> None:
    """A step is whole in itself: copied elsewhere, under another name, it loads the same."""
    run = trained_run(tmp_path / "run", material=material_of(), num_steps=3)
    (step,) = (run / checkpoint.step_name(number) for number in checkpoint.steps(run))
    copied = Path(shutil.copytree(step, tmp_path / "elsewhere"))
    one, other = checkpoint.load(step), checkpoint.load(copied)
    assert one.step == other.step == 3
    assert one.tokenizer.unk_id == base.UNK_ID
    assert one.weights.keys() == other.weights.keys()
    for name, array in one.weights.items():
        assert np.array_equal(array, other.weights[name])
