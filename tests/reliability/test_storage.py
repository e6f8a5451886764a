"""Laws of what stands on disk: damage is named, strangers run nothing, no crash costs a save."""

import ast
import contextlib
import errno
import io
import itertools
import json
import os
import pickle
import random
import shutil
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import charlm
from charlm.checkpoints import directory
from charlm.checkpoints.disk import _ADVICE, TEMPORARY, Disk
from charlm.checkpoints.language_model import Checkpoint
from charlm.checkpoints.step import save_step
from charlm.checkpoints.tensors import arrays_to_bytes
from charlm.cli.errors import guarded
from charlm.errors import CheckpointError
from tests.support.disks import Failing, Recorder, crash_states, quick_folder, restore, snapshot
from tests.support.matrix import Tally
from tests.support.steps import (
    files_of,
    forge,
    load,
    read_all,
    read_manifest,
    save_and_rotate,
    use,
    write_manifest,
)

LEVELS = ("char", "word", "subword")
KINDS = ("char", "tagger", "labelled", "word", "classifier", "translator", "bidirectional")
KINDS = (*KINDS, "subword")
MANIFEST = "manifest.json"
ONLY_IN = {  # files that steps of one kind alone have
    "tokenizer.model": "subword",
    "labels.json": "labelled",
    "tagger.json": "tagger",
    "source_tokenizer.json": "translator",
}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory on a disk that is quick to fsync, where there is one."""
    with quick_folder() as path:
        yield path


@pytest.fixture(scope="module")
def originals(place: Path) -> dict[str, Path]:
    """A sound step of each level and kind; tests work on copies."""
    return {kind: save_step(place / kind, 1, files_of(kind)) for kind in KINDS}


@pytest.fixture
def copy(originals: dict[str, Path], place: Path) -> Iterator[Callable[[str], Path]]:
    """Makes copies of them, the last of which stands."""
    work = place / "copies"

    def fresh(level: str) -> Path:
        shutil.rmtree(work, ignore_errors=True)
        return Path(shutil.copytree(originals[level], work / originals[level].name))

    yield fresh
    shutil.rmtree(work, ignore_errors=True)


def names_in(step: Path) -> list[str]:
    """The files of a step, the manifest last."""
    return [*sorted(path.name for path in step.iterdir() if path.name != MANIFEST), MANIFEST]


def refusal(step: Path, what: str = "", seconds: float = 2) -> str:
    """The one line and exit code 4 with which the command line refuses a step, soon.

    ``seconds`` are those of the processor: other programs take none of them.
    """

    errors, begun = io.StringIO(), time.process_time()
    ended = None
    with contextlib.redirect_stderr(errors):
        try:
            guarded(read_all)(step)
        except SystemExit as caught:
            ended = caught.code
    assert time.process_time() - begun < seconds, what
    assert ended == 4, (what, errors.getvalue())
    (line,) = errors.getvalue().splitlines()
    return line


@pytest.mark.row("F1")
def test_a_file_cut_short_is_refused_by_name(
    copy: Callable[[str], Path], originals: dict[str, Path], tally: Tally
) -> None:
    """Whatever file is cut, at whatever length: exit 4 with one line that names it."""
    rng = random.Random(1)
    cases = itertools.cycle([(k, n) for k in KINDS for n in names_in(originals[k])])
    for level, name in itertools.islice(cases, tally.wanted(300)):
        step = copy(level)
        data = (step / name).read_bytes()
        length = rng.choice(
            (0, 1, 7, 8, 9, len(data) // 2, len(data) - 1, rng.randrange(len(data)))
        )
        (step / name).write_bytes(data[:length])
        assert f"{step / name} " in refusal(step)
        tally.add()


@pytest.mark.row("F2")
def test_a_flipped_bit_is_refused(
    copy: Callable[[str], Path], originals: dict[str, Path], tally: Tally
) -> None:
    """One bit, anywhere in any file, the manifest and its white space included: exit 4."""
    rng = random.Random(2)
    cases = itertools.cycle([(k, n) for k in KINDS for n in names_in(originals[k])])
    for level, name in itertools.islice(cases, tally.wanted(500)):
        step = copy(level)
        data = bytearray((step / name).read_bytes())
        bit = rng.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        (step / name).write_bytes(data)
        line = refusal(step)
        assert name == MANIFEST or f"{step / name} " in line
        tally.add()


# Hostile on purpose, with manifests that vouch for them


def headed(header: object, body: bytes = b"") -> bytes:
    """A safetensors file with any header."""
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(data)) + data + body


def tensor(shape: object, end: object = 4, dtype: object = "F32", begin: object = 0) -> bytes:
    """A file of one tensor of four bytes, described in any way."""
    return headed({"a": {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}}, b"1234")


TENSORS = {
    "empty": b"",
    "short": b"\x01",
    "a header of exabytes": struct.pack("<Q", 2**63) + b"{}",
    "a header of terabytes": struct.pack("<Q", 2**42) + b"{}",
    "a header past the end": struct.pack("<Q", 3) + b"{}",
    "no json": headed(b"{"),
    "a list": headed([]),
    "null": headed(None),
    "deep": headed(b"[" * 100_000),
    "deep objects": headed(b'{"a":' * 100_000),
    "twice": headed(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":1}', b"1"),
    "no description": headed({"a": None}, b"1234"),
    "a field more": headed(
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "x": 1}}, b"1234"
    ),
    "terabytes": tensor([2**40], 2**42),
    "a product that overflows": tensor([2**62, 2**62]),
    "a product that is 4 in 64 bits": tensor([2**32, 2**32 + 1], 4),
    "a product that wraps to 1": tensor([2**63 - 1, 2**63 - 1]),
    "more digits than fit": tensor([10**300]),
    "negative": tensor([-1]),
    "negative twice": tensor([-1, -1]),
    "no whole number": tensor([1.0]),
    "true": tensor([True]),
    "a shape of words": tensor(["1"]),
    "no shape": tensor(None),
    "a hundred dimensions": tensor([1] * 100),
    "backwards": tensor([1], 0, begin=4),
    "before the beginning": tensor([1], 0, begin=-4),
    "past the end": tensor([2], 8),
    "a gap": tensor([0], 4, begin=4),
    "bytes left over": headed({}, b"1234"),
    "another type": tensor([1], dtype="F8_E5M2"),
    "bf16": tensor([2], dtype="BF16"),
    "no type": tensor([1], dtype=[]),
    "objects": tensor([1], dtype="O"),
    "shared": headed(
        {x: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for x in "ab"}, b"1234"
    ),
    "a zip": b"PK\x03\x04" + bytes(100),
}
JSON = {
    "empty": b"",
    "null": b"null",
    "a list": b"[]",
    "a string": b'"x"',
    "not utf-8": b'{"a": "\xff"}',
    "deep lists": b'{"files":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "NaN": b'{"format": 1, "files": {}, "step": NaN}',
    "Infinity": b'{"format": 1, "files": {}, "step": -Infinity}',
    "1e999": b'{"format": 1, "files": {}, "step": 1e999}',
    "many digits": b'{"format": 1, "files": {}, "step": ' + b"9" * 5000 + b"}",
    "a key twice": b'{"format": 1, "format": 1}',
    "lists": b'{"a": [' + b"[]," * 200_000 + b"[]]}",
    "many lists": b'{"a": [' + b"[]," * 6_000_000 + b"[]]}",
    "many strings": b'{"a": [' + b'"",' * 6_000_000 + b'""]}',
}
LABELS: dict[str, dict[str, Any]] = {  # what labels.json may claim
    "twice the same": {"names": ["a", "a", "c"]},
    "one more": {"names": [*"abcd"], "counts": [1] * 4},
    "one too few": {"names": ["a", "b"], "counts": [5, 2]},
    "no text": {"names": ["a", "b", 3]},
    "a long one": {"names": ["a", "b", "c" * 2**16]},
    "half a count": {"counts": [5, 2.5, 1]},
    "a huge count": {"counts": [5, 2, 10**400]},
    "temperature 0": {"temperature": 0},
    "temperature 1e-300": {"temperature": 1e-300},
    "temperature that no float holds": {"temperature": 10**400},
    "temperature true": {"temperature": True},
}
HEADS: dict[str, dict[str, Any]] = {  # what a head's model.json may claim
    "labels twice": {"labels": ["O", "O", "B-X"]},
    "labels of no number": {"labels": ["O", "I-X", 3]},
    "more labels": {"labels": [*"abcd"]},
    "a long label": {"labels": ["O", "I-X", "B" * 2**16]},
    "labels that are an object": {"labels": {"O": 1, "B": 2, "I": 3}},
    "temperature 0": {"temperature": 0.0},
    "temperature 1e300": {"temperature": 1e300},
    "temperature 10**400": {"temperature": 10**400},
    "another kind": {"kind": "language model"},
    "a kind of no name": {"kind": ["tagger"]},
    "another step": {"step": 3},
    "no format": {"format": None},
}
TRANSLATORS: dict[str, dict[str, Any]] = {  # what a translator's may claim
    "another kind": {"kind": "tagger"},
    "another step": {"step": 3},
    "no format": {"format": None},
}
SHAPES: dict[str, dict[str, Any]] = {  # and the shape in it
    "petabytes": {"hidden_size": 65_536, "num_layers": 64, "vocab_size": 10**7},
    "gigabytes": {"hidden_size": 65_536},
    "another kind": {"kind": "language model"},
    "more labels": {"num_labels": 10**6},
    "more letters": {"num_letters": 10**7},
    "letters of no number": {"num_letters": "1"},
    "a smaller embedding": {"embedding_size": 2},
    "code": {"cell": "__import__('os')"},
    "another cell": {"cell": "gru"},
    "a field more": {"path": "/etc/passwd"},
}
MODELS: dict[str, dict[str, Any]] = {
    "petabytes": {"vocab_size": 10**7, "hidden_size": 65_536, "num_layers": 64},
    "gigabytes": {"hidden_size": 65_536},
    "too many units": {"hidden_size": 10**12},
    "more than floats hold": {"hidden_size": 10**400},
    "negative": {"hidden_size": -1},
    "no whole number": {"hidden_size": 4.0},
    "many layers": {"num_layers": 64},
    "another cell": {"cell": "gru"},
    "code": {"cell": "__import__('os')"},
    "more types": {"vocab_size": 10**6},
}


def plant(step: Path, name: str, kind: str) -> None:
    """Put something that is no plain file, or one of holes, where a file should be."""
    path = step / name
    data = path.read_bytes()
    path.unlink()
    if kind == "link":
        (step.parent / name).write_bytes(data)
        path.symlink_to(step.parent / name)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "dangling":
        path.symlink_to(step / "nowhere")
    elif kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind in ("/dev/zero", "/dev/stdin", "/proc/self/mem"):
        path.symlink_to(kind)
    else:
        path.write_bytes(data)
        size = {"terabytes of holes": 2**42, "gigabytes of holes": 2**33}[kind]
        os.truncate(path, size)
        if name != MANIFEST:
            manifest = read_manifest(step)
            manifest["files"][name]["size"] = size
            write_manifest(step, manifest)


SPECIAL = (
    "link",
    "loop",
    "dangling",
    "directory",
    "fifo",
    "/dev/zero",
    "/dev/stdin",
    "/proc/self/mem",
    "terabytes of holes",
    "gigabytes of holes",
)


def hostile_cases(originals: dict[str, Path]) -> list[tuple[str, Callable[[Path], object], str]]:
    """The level, what is done to a step of it, and what that is called."""
    cases: list[tuple[str, Callable[[Path], object], str]] = []
    names = names_in(originals["word"])
    for file in (name for name in names if name.endswith(".safetensors")):
        for what, data in TENSORS.items():
            change = {file.replace(".", "_"): data}
            cases.append(("word", lambda step, c=change: forge(step, **c), f"{file}: {what}"))
    for file in (name for name in names if name.endswith(".json")):
        for what, data in JSON.items():

            def write(step: Path, file: str = file, data: bytes = data) -> None:
                if file == MANIFEST:
                    (step / file).write_bytes(data)
                else:
                    forge(step, **{file.replace(".", "_"): data})

            cases.append(("word", write, f"{file}: {what}"))
    for file in ("model.json", "speller.json"):
        for what, fields in MODELS.items():

            def claim(step: Path, file: str = file, fields: dict[str, Any] = fields) -> None:
                described = json.loads((step / file).read_bytes())
                described["model"] |= fields
                forge(step, **{file.replace(".", "_"): json.dumps(described).encode()})

            cases.append(("word", claim, f"{file}: {what}"))
    cases += cases_of_kinds()
    for file in [*names, *ONLY_IN]:
        for kind in SPECIAL:
            level = ONLY_IN.get(file, "word")
            cases.append((level, lambda s, f=file, k=kind: plant(s, f, k), f"{file}: {kind}"))
    return cases


def cases_of_kinds() -> Iterator[tuple[str, Callable[[Path], object], str]]:
    """The same of files that labelled models, classifiers and taggers have, or have otherwise."""

    def claim(file: str, fields: dict[str, Any], part: str = "") -> Callable[[Path], object]:
        def change(step: Path) -> None:
            described = json.loads((step / file).read_bytes())
            (described[part] if part else described).update(fields)
            forge(step, **{file: json.dumps(described).encode()})

        return change

    for level, files in (
        ("labelled", ("labels.json",)),
        ("classifier", ("model.json", "tokenizer.json", "training.json")),
        ("tagger", ("model.json", "tagger.json")),
        ("translator", ("model.json", "source_tokenizer.json", "training.json")),
    ):
        for file, (what, data) in itertools.product(files, JSON.items()):
            if len(data) > 2**20:
                continue  # one kind of file is enough to see that size is looked at first
            yield level, lambda step, f=file, d=data: forge(step, **{f: d}), f"{file}: {what}"
    for what, fields in LABELS.items():
        yield "labelled", claim("labels.json", fields), f"labels.json: {what}"
    for level in ("classifier", "tagger", "translator"):
        for what, fields in (TRANSLATORS if level == "translator" else HEADS).items():
            yield level, claim("model.json", fields), f"model.json: {what}"
        for what, fields in SHAPES.items():
            yield level, claim("model.json", fields, "model"), f"model.json: {what}"
        for file in ("model.safetensors", "training.safetensors"):
            key = file.replace(".", "_")
            for what in ("a header of terabytes", "terabytes", "deep", "shared"):
                data = TENSORS[what]
                yield level, lambda step, k=key, d=data: forge(step, **{k: d}), f"{file}: {what}"
    for part in ("words", "letters"):
        for what, types in (
            ("twice", ["a", "a"]),
            ("no list", "abc"),
            ("fewer", ["a"]),
            ("no text", [1, 2]),
            ("nothing", None),
        ):
            yield "tagger", claim("tagger.json", {part: types}), f"tagger.json: {part} {what}"
    for tag in ("O\nAda\tB-X", "O\tB-X", "O\x1b[2J", "O\rB-X", "O\u2028"):
        yield "tagger", claim("model.json", {"labels": ["B-X", "I-X", tag]}), f"model.json: {tag!r}"


@pytest.mark.row("F4")
def test_what_is_hostile_is_refused_before_anything_is_allocated(
    copy: Callable[[str], Path], originals: dict[str, Path], tally: Tally
) -> None:
    """Headers, shapes, types, depths, sizes and special files that lie, although the manifest
    vouches for them: exit 4 at once, and no more memory than what is really on disk may become
    as Python objects.
    """
    cases = hostile_cases(originals)
    random.Random(3).shuffle(cases)
    tracemalloc.start()
    try:
        for level, spoil, what in itertools.islice(itertools.cycle(cases), tally.wanted(600)):
            step = copy(level)
            spoil(step)
            on_disk = sum(512 * path.lstat().st_blocks for path in step.iterdir())
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            line = refusal(step, what, seconds=20)  # of which the most is the counting
            peak = tracemalloc.get_traced_memory()[1] - before
            file = what.split(":", maxsplit=1)[0]
            assert file.split(".")[0] in line, (what, line)
            assert len(line) < 700, what
            assert peak < 32 * on_disk + 2**24, (what, peak, on_disk)
            tally.add()
    finally:
        tracemalloc.stop()


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.canary,))


def zipped(data: bytes) -> bytes:
    """A pickle as torch.save packs it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
    return packed.getvalue()


@pytest.mark.row("F5")
def test_a_pickle_is_never_run(copy: Callable[[str], Path], place: Path, tally: Tally) -> None:
    """Under every name that is read, and under names of other programs, whatever the manifest
    says: nothing is unpickled.
    """
    canary = place / "canary"
    pickle.loads(pickle.dumps(Bomb(canary)))
    assert canary.exists()  # the bomb works
    canary.unlink()
    read = [*files_of("word"), *ONLY_IN, MANIFEST]
    others = ["model.pt", "pytorch_model.bin", "training.pkl"]
    run_files = ["run.json", "pointers.json", "metrics.jsonl"]
    cases = itertools.cycle(
        itertools.product([*read, *others, *run_files], (0, 2, 4), (False, True))
    )
    for name, protocol, packed in itertools.islice(cases, tally.wanted(120)):
        bomb = pickle.dumps(Bomb(canary), protocol)
        bomb = zipped(bomb) if packed else bomb
        step = copy(ONLY_IN.get(name, "word"))
        directory.write_json(step.parent / "run.json", {"run_id": "x"})
        directory.write_json(step.parent / "pointers.json", {"best": 1})
        if name in run_files:
            (step.parent / name).write_bytes(bomb)
            assert Checkpoint.find(str(step.parent)).step == 1
            with contextlib.suppress(CheckpointError):
                directory.read_json(step.parent / name)
        elif name == MANIFEST:
            (step / name).write_bytes(bomb)
            assert MANIFEST in refusal(step)
        else:
            is_read = name in read
            forge(step, **{name: bomb}) if is_read else None
            (step / name).write_bytes(bomb)
            if is_read:
                refusal(step)
            else:
                read_all(step)  # a file that no manifest lists is not looked at
        assert not canary.exists()
        tally.add()


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


SPOKEN = ("bulk/processes.py", "bulk/worker.py")  # between a process and its children


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


@pytest.mark.row("F6")
def test_the_package_has_nothing_that_runs_data(tally: Tally) -> None:
    """No pickle, torch.load, np.load, eval, exec, yaml, marshal or shelve anywhere in charlm.

    But what a process and its own children say to each other through a pipe is pickled: nobody else
    writes there, and nothing of it comes from a file.
    """
    package = Path(charlm.__file__).parent
    sources = list(package.rglob("*.py"))
    assert len(sources) > max(20, tally.wanted(1))
    for path in sources:
        spoken = ["pickle"] if path.relative_to(package).as_posix() in SPOKEN else []
        assert dangers(path.read_text()) == spoken, path
        tally.add()
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


# Disks that fail, machines that stop


NUMBERS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS)


@pytest.mark.row("C2")
def test_a_failing_disk_costs_nothing_saved_before(place: Path, tally: Tally) -> None:
    """Whatever call of a save fails, and with it those that a full, failing or read-only disk
    fails after it: the former step loads, or the new one, and the message says what happened and
    what to do. Once the disk works again, a save leaves nothing behind.
    """
    done, wanted = 0, tally.wanted(500)
    for seed in itertools.count():
        if done >= wanted:
            break
        kind = KINDS[seed % len(KINDS)]
        first = files_of(kind, step=1, seed=seed)
        second = files_of(kind, step=2 - seed % 2, seed=seed + 1)  # another, or again
        for number in NUMBERS:
            for k in itertools.count():
                run = place / "run"
                save_and_rotate(run, 1, first)
                disk = Failing(k, number)
                try:
                    save_and_rotate(run, 2 - seed % 2, second, disk)
                except CheckpointError as error:
                    message = str(error)
                    assert os.strerror(number) in message
                    assert "Earlier checkpoints are untouched; " in message
                    assert _ADVICE[number] in message
                    assert "`resume`" in message
                    assert "\n" not in message
                read_all(directory.find(str(run)))
                weights = load(directory.find(str(run))).weights
                known = (first["model.safetensors"], second["model.safetensors"])
                assert arrays_to_bytes(weights) in known
                directory.recover(run)
                save_and_rotate(run, 3, first)
                left = {"metrics.jsonl", "pointers.json", "step-00000003"}
                assert {path.name for path in run.iterdir()} == left
                shutil.rmtree(run)
                if disk.calls <= k:
                    break  # all went through
                done += 1
                tally.add()


def test_the_first_save_that_fails_says_so(place: Path) -> None:
    """Without an earlier checkpoint the message promises none."""
    for number, cure in ((errno.ENOSPC, "make room"), (errno.EFBIG, "ulimit"), (0, "see that")):
        with pytest.raises(
            CheckpointError, match=rf"no earlier checkpoint; .*{cure}.* begin again"
        ):
            save_step(place / "new", 1, files_of(), disk=Failing(3, number))
        assert directory.steps(place / "new") == []
        assert list((place / "new").iterdir()) == []


def test_what_reads_back_wrong_is_not_saved(place: Path) -> None:
    """A disk that loses bytes silently is found out before the step gets its name."""

    class Forgetful(Disk):
        def write(self, file: int, data: memoryview) -> int:
            super().write(file, bytes(data)[:-1] + b"?")
            return len(data)

    run = place / "forgetful"
    save_and_rotate(run, 1)
    with pytest.raises(CheckpointError, match=r"cannot save .*step-00000002.*reads back wrong"):
        save_step(run, 2, files_of(step=2), disk=Forgetful())
    assert directory.steps(run) == [1]
    assert not list(run.glob(f"{TEMPORARY}*"))


def scenarios(seed: int) -> Iterator[tuple[str, Callable[[Path], object], Callable[..., object]]]:
    """What is done first, and what is then interrupted."""
    level = LEVELS[seed % 3]
    files = [files_of(level, step=step, seed=seed + step) for step in range(3)]
    again = {**files[1], "model.safetensors": files[2]["model.safetensors"]}

    def nothing(run: Path) -> None:
        run.mkdir()

    def one(run: Path) -> None:
        save_and_rotate(run, 1, files[1])

    def half_replaced(run: Path) -> None:
        one(run)
        (run / "step-00000001").rename(run / "step-00000001.old")

    def crashed(run: Path) -> None:
        one(run)
        shutil.copytree(run / "step-00000001", run / ".tmp-0")
        (run / ".tmp-1").touch()
        (run / "step-00000001.old").mkdir()

    def cut_log(run: Path, disk: Disk) -> None:
        directory.write_text(run / "metrics.jsonl", '{"step": 1}\n', disk)

    def save(step: int, files: dict[str, bytes]) -> Callable[[Path, Disk], None]:
        return lambda run, disk: save_and_rotate(run, step, files, disk)

    yield "the first save", nothing, save(1, files[1])
    yield "a later save", one, save(2, files[2])
    yield "a step replaced", one, save(1, again)
    yield "replaced after a crash", half_replaced, save(1, again)
    yield "a recovery", half_replaced, directory.recover
    yield "a sweep", crashed, directory.recover
    yield "a log cut", one, cut_log


@pytest.mark.row("C4")
def test_after_a_crash_the_old_or_the_new_step_loads(place: Path, tally: Tally) -> None:
    """Of every operation that was not flushed, whatever the disk has lost: a step is found, it
    loads, and the next writer puts the rest in order.
    """
    done, wanted = 0, tally.wanted(300)
    for seed in itertools.count():
        if done >= wanted:
            break
        for what, first, interrupted in scenarios(seed):
            whole = place / "whole"
            first(whole)
            before = snapshot(whole)
            recorder = Recorder(whole)
            interrupted(whole, recorder)
            shutil.rmtree(whole)
            for state in crash_states(before, recorder.ops):
                problem = problem_with(place / "crashed", state, bool(before))
                assert problem is None, (what, problem)
                done += 1
                tally.add()


def problem_with(run: Path, state: dict[str, bytes | None], had_one: bool) -> str | None:
    """What is wrong with a run that was found so, if anything is."""
    restore(state, run)
    try:
        if had_one or directory.steps(run):
            read_all(directory.find(str(run)))
            directory.recover(run)
            for step in directory.steps(run):
                read_all(run / directory.step_name(step))
            Checkpoint.find(str(run))
        directory.recover(run)
        names = {path.name for path in run.iterdir()} - {"metrics.jsonl", "pointers.json"}
        if not all(directory._STEP.fullmatch(name) for name in names):
            return f"left over: {sorted(names)}"
    except CheckpointError as error:
        return str(error)
    finally:
        shutil.rmtree(run)
    return None


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["files", "directories"])
def test_the_crash_states_find_a_protocol_that_flushes_too_little(
    place: Path, missing: str
) -> None:
    """Without the fsync of files, or of directories, there are states in which nothing loads: the
    test above would fail.
    """
    whole = place / "lazy"
    save_and_rotate(whole, 1)
    before = snapshot(whole)
    recorder = Recorder(whole)
    save_and_rotate(whole, 2, disk=recorder)
    shutil.rmtree(whole)
    directories = {".", *(op.path for op in recorder.ops if op.what == "mkdir")}
    ops = [
        op
        for op in recorder.ops
        if op.what != "fsync" or (op.path in directories) != (missing == "directories")
    ]
    assert len(ops) < len(recorder.ops)
    states = crash_states(before, ops)
    assert any(problem_with(place / "lost", state, True) for state in states)


# Mutations


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The bytes with a few of them changed, cut out, doubled or put in."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, size = rng.randrange(len(out) + 1), rng.choice((1, 1, 2, 8, 40))
        kind = rng.randrange(5)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at : at + size] = bytes(
                rng.choice(b'0123456789-.eE[]{},:"\\ \n\x00\xff') for _ in range(size)
            )
        elif kind == 2:
            del out[at : at + size]
        elif kind == 3:
            out[at:at] = out[at : at + size]
        else:
            out[at:at] = rng.choice(
                (b"null", b"1e400", b"-1", b"NaN", b"\\ud800", b"[[", b"{}", b'""')
            )
    return bytes(out)


@pytest.mark.slow
def test_mutations_are_refused_or_are_models(
    copy: Callable[[str], Path], originals: dict[str, Path], place: Path
) -> None:
    """Files changed at random, the manifest made to fit: a CheckpointError, or a model that
    scores. No other exception comes out.
    """
    rng = random.Random(5)
    loaded = 0
    cases = itertools.cycle([(k, n) for k in KINDS for n in names_in(originals[k])])
    for level, name in itertools.islice(cases, 1200):
        step = copy(level)
        data = mutated((step / name).read_bytes(), rng)
        if name == MANIFEST:
            (step / name).write_bytes(data)
        else:
            forge(step, **{name.replace(".", "_"): data})
        try:
            read_all(step)
            model = use(step)
        except CheckpointError:
            continue
        loaded += 1
        assert model
    assert 20 < loaded < 1180
