"""Whether a release installs and works: python -m bench smoke [PYTHON ...].

Builds a source distribution and a wheel, and makes a fresh environment for each Python from 3.11 on
that is found (on the PATH, or by uv), for the oldest dependencies and for the source distribution.
In each, smoke_script.py runs in an empty directory. torch is its CPU build, from where uv finds it
(`--torch-backend cpu`, or the indices and folders of UV_INDEX and UV_FIND_LINKS). Where there is
only the one for GPUs, which is several GB, the environment has no torch: then what needs none is
run. Needs uv and build: pip install uv build.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import machine

ROOT = Path(__file__).parent.parent
RUN = ROOT / "tests" / "golden" / "finished" / "characters"
OLDEST = ROOT / "constraints-oldest.txt"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
HEAD = ("Python", "from", "dependencies", "torch", "numpy", "extras", "smoke test")
EXTRAS = "bleu,onnx,parquet,serve,tensorboard,zstd"
_MOST_SAID = 300  # characters of an error


class Case(NamedTuple):
    """An environment: the Python, what is installed, and the constraints if they are not the
    newest.
    """

    python: str
    package: Path
    oldest: bool = False
    extras: bool = False


def main(arguments: Sequence[str] = ()) -> None:
    """Print a row for each environment; SystemExit if a smoke test did not pass."""
    wanted = list(arguments) or list(PYTHONS)
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        wheel, source = build(at / "dist")
        print(f"wheel {size(wheel)}, source distribution {size(source)}\n", flush=True)
        rows = [row(case, at / str(n)) for n, case in enumerate(cases(wanted, wheel, source))]
    machine.table(HEAD, rows)
    if failed := [line for line in rows if line[-1].startswith("failed")]:
        raise SystemExit(f"{len(failed)} smoke tests failed")


def build(folder: Path) -> tuple[Path, Path]:
    """The wheel and the source distribution of this checkout, the one made from the other."""
    _run(sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT))
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


def cases(pythons: Sequence[str], wheel: Path, source: Path) -> Iterator[Case]:
    """Each Python with the newest dependencies, the oldest of all also with the oldest ones; the
    first also with all extras, and from the source distribution.
    """
    for number, python in enumerate(pythons):
        yield Case(python, wheel, extras=number == 0)
        if python == PYTHONS[0]:
            yield Case(python, wheel, oldest=True, extras=True)
        if number == 0:
            yield Case(python, source)


def row(case: Case, at: Path) -> tuple[str, ...]:
    """Make the environment, run the smoke test, and say what came of it."""
    dependencies = f"{'oldest' if case.oldest else 'newest'}{', all extras' * case.extras}"
    begun = (case.python, "wheel" if case.package.suffix == ".whl" else "sdist", dependencies)
    print(f"… Python {' '.join(begun)}", flush=True)
    if _has_failed("uv", "venv", "--quiet", "--python", case.python, str(at / "venv")):
        return (*begun, "", "", "", "not run: there is no such Python here")
    torch = cpu_torch(case, at)
    try:
        install(case, at, torch)
        told = json.loads(smoke(at, torch=torch is not None).splitlines()[-1])
    except subprocess.CalledProcessError as error:
        said = " ".join(f"{error.stdout}{error.stderr}".split())[-_MOST_SAID:]
        return (*begun, "", "", "", f"failed: {said}")
    verdict = "passed" if torch else "passed, of what needs no torch"
    extras = ", ".join(told["extras"])
    return (told["python"], *begun[1:], told.get("torch", "none"), told["numpy"], extras, verdict)


def cpu_torch(case: Case, at: Path) -> tuple[str, ...] | None:
    """What to ask uv for to have a torch that brings nothing of NVIDIA's; None where there is none.

    The newest, or else the one of constraints.txt. Only metadata are fetched.
    """
    backend = () if os.environ.get("UV_FIND_LINKS") else ("--torch-backend", "cpu")
    pinned = re.search(r"^torch==\S+$", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned is not None
    for torch in ("torch", pinned[0]):
        asked = (*backend, torch)
        command = ("uv", "pip", "install", *_options(case, at), "--dry-run", *asked)
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0 and "nvidia" not in done.stderr:
            return asked
    return None


def install(case: Case, at: Path, torch: Sequence[str] | None) -> None:
    """The package and what it needs; without torch, all but that."""
    options = _options(case, at)
    if torch is not None:
        _run("uv", "pip", "install", *options, *torch)
        package = f"{case.package}[{EXTRAS}]" if case.extras else str(case.package)
        _run("uv", "pip", "install", *options, package)
        return
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    others = [need for need in needs["dependencies"] if not need.startswith("torch")]
    others += [
        need for name in ("serve", "parquet") for need in needs["optional-dependencies"][name]
    ]
    _run("uv", "pip", "install", *options, *others)
    _run("uv", "pip", "install", *options, "--no-deps", str(case.package))


def smoke(at: Path, *, torch: bool) -> str:
    """What the smoke test prints. Raises CalledProcessError."""
    work = at / "empty"
    work.mkdir()
    script = shutil.copy(Path(__file__).with_name("smoke_script.py"), at)
    without = () if torch else ("--without-torch",)
    return _run(str(_python(at)), script, *without, str(RUN), at=work)


def size(path: Path) -> str:
    """Of a file, in MB."""
    return f"{path.stat().st_size / 1e6:.1f} MB"


def _options(case: Case, at: Path) -> tuple[str, ...]:
    oldest = ("--constraint", str(OLDEST)) if case.oldest else ()
    return ("--no-progress", "--python", str(_python(at)), *oldest)


def _python(at: Path) -> Path:
    folder, name = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    return at / "venv" / folder / name


def _has_failed(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode != 0


def _run(*command: str, at: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=at, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout
