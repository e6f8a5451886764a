"""The README and docs/ can be pasted: what they show runs, in their order, on the bundled texts."""

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.cli import charlm

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
MODELS = ROOT / "docs" / "README.md"  # trains the models that the other pages use
PAGES = sorted({*(ROOT / "docs").glob("*.md")} - {MODELS, ROOT / "docs" / "cli.md"})

# What is not run, for it names a text that does not come with charlm, or a model made of one: it
# is looked at whether its options are there. Everything else runs.
NOT_BUNDLED = (
    "big/",
    "names/",
    "reviews/",
    "verses.tsv",
    "table.tsv",
    "posts.jsonl",
    "treebank.conllu",
)
NOT_BUNDLED = (*NOT_BUNDLED, "Russian")

# In place of the minutes that the README trains for.
BUDGET = ("--steps", "2", "--hidden", "8")
# Samples of a model that has learned little are long.
SHORT = ("--max-tokens", "40")


class Command(NamedTuple):
    """A line to type, and what the README says is printed: every line of it, or a part."""

    line: str
    shown: tuple[str, ...]

    @property
    def needs_a_text(self) -> bool:
        """Whether it needs one that is not there."""
        return any(name in self.line for name in NOT_BUNDLED) and "data/" not in self.line

    @property
    def is_of_several(self) -> bool:
        """Whether it starts several processes: tests/reliability/test_ranks.py does so."""
        return self.line.startswith("torchrun ")

    @property
    def is_whole(self) -> bool:
        """Whether all that is printed is shown."""
        kept = "--max-bits" in self.line  # as many lines as the model finds good
        return not kept and not any(line.strip() == "…" for line in self.shown)


_BLOCK = re.compile(
    r"^```(\w*)\n(.*?)^```|((?:^ {4}[^\n]*\n|^\n(?= {4}))+)", re.DOTALL | re.MULTILINE
)


def commands(path: Path) -> list[Command]:
    """The command lines of a text's blocks, with and without a prompt, in their order.

    What a block shows below "it prints:" is what the last command prints, with another text.
    """
    text = path.read_text(encoding="utf-8")
    found: list[Command] = []
    for block in _BLOCK.finditer(text):
        language, fenced, indented = block.groups()
        lines = fenced.splitlines() if indented is None else textwrap.dedent(indented).splitlines()
        goes_on = text[: block.start()].rstrip().endswith("it prints:")
        for line in lines if not language else ():
            if re.match(r"\$ |charlm |torchrun ", line):
                goes_on = True
                found.append(Command(line.removeprefix("$ ").partition("  #")[0], ()))
            elif goes_on and line.strip():
                found[-1] = found[-1]._replace(shown=(*found[-1].shown, line))
    return found


def shortened(arguments: list[str]) -> list[str]:
    """The same with a tiny budget where something is trained, and short samples."""
    if arguments[0] == "sample":
        return [*arguments, *SHORT]
    if arguments[0] != "train" or "--counts-only" in arguments:
        return arguments
    budgets = ("--time", "--epochs", "--steps")
    pairs = zip(arguments, ("", *arguments[:-1]), strict=True)
    kept = [now for now, before in pairs if now not in budgets and before not in budgets]
    return [*kept, *BUDGET]


class Served:
    """The server that a page starts, which runs in a window of its own as long as it is followed.

    It has a port that was free in the place of the one that the page shows.
    """

    PORT = "8080"

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._port = self.PORT

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End what runs."""
        if self._process is not None:
            self._process.terminate()
            self._process.communicate()
            self._process = None

    def begin(self, line: str) -> list[str]:
        """Start it in the place of another; the lines that it says until it listens."""
        self.end()
        command = [sys.executable, "-m", *shlex.split(line), "--port", "0"]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        said: list[str] = []
        assert self._process.stderr is not None
        for one in self._process.stderr:
            said.append(one.rstrip("\n"))
            if one.startswith("serving at"):
                break
        assert said, line
        found = re.search(r":(\d+);", said[-1])
        assert found is not None, said
        self._port = found[1]
        return [one.replace(f":{self._port};", f":{self.PORT};") for one in said]

    def at_its_port(self, line: str) -> str:
        """A line to type with the port that it has."""
        return line.replace(f":{self.PORT}/", f":{self._port}/")


def run(command: Command, served: Served) -> list[str]:
    """Run a command line as a person would and return what is on the screen."""
    line, _, file = command.line.partition(" > ")
    if line.startswith("charlm serve"):
        return served.begin(line)
    if not line.startswith("charlm "):
        return shell(served.at_its_port(command.line)).decode().splitlines()
    out, err = b"", b""
    for part in line.split(" | "):
        if not part.startswith("charlm "):
            out = shell(part, out)
            continue
        ended = charlm(*shortened(shlex.split(part)[1:]), stdin=out)
        assert ended.code == 0, f"{part}: {ended.err}"
        out, err = ended.stdout, err + ended.stderr
    if file:
        Path(file).write_bytes(out)
        out = b""
    return (out + err).decode().splitlines()


def shell(line: str, stdin: bytes = b"") -> bytes:
    """What a command line that is not one of charlm writes."""
    command = ["bash", "-c", line]
    return subprocess.run(command, input=stdin, check=True, stdout=subprocess.PIPE).stdout


def key(line: str) -> str:
    """What of a line does not depend on the model: its first words, or that it is a row."""
    words = re.sub("[▁-█]", "", line).split()
    if words and re.match(r"[-+\d.]", words[0]):
        figures = itertools.takewhile(
            lambda word: re.match(r"[-+]?\d[\d.,]*(e[-+]\d+)?%?$", word), words
        )
        return f"{len(list(figures))} figures"
    begun = re.match(r"[^\d\"“…:]*:?", " ".join(words))
    assert begun is not None
    return re.sub(r" [-+]$|^\w+ is better$", "", " ".join(begun[0].split()))


def is_free(command: Command) -> bool:
    """Whether what is printed are texts and tags: a model that learned little has others."""
    name, line = command.line.split()[1], command.line
    return (
        name in ("fill", "translate")
        or "inspect units" in line  # which are others in every model
        or "--max-bits" in line
        or "--attention" in line
        or (
            (name == "sample" and "--report" not in line)
            or (name == "tag" and "--evaluate" not in line)
        )
    )


def check_shown(command: Command, printed: list[str]) -> None:
    """What is shown is what is printed: so many lines, the same words, as many figures in rows."""
    shown = [line for line in command.shown if line.strip() not in ("", "…")]
    told = [line for line in printed if line.strip()]
    if shown and command.is_whole:
        counted = printed if is_free(command) and " inspect " not in command.line else told
        assert len(counted) == len(shown), (command.line, printed)
    if is_free(command):
        return
    there = {"", *map(key, told)}
    missing = {key(line) for line in shown if "┤" not in line} - there  # a row of a plot
    assert not missing, f"{command.line}: {missing} is not in {there}"
    for line in shown:  # these depend on the bundled text alone
        of_the_text = line.startswith("text: ") or "charlm tokenize" in command.line
        assert not of_the_text or line in printed


def follow(path: Path, folder: Path) -> int:
    """Follow a page from top to bottom in a directory; how many commands it has that can be run."""
    found = [one for one in commands(path) if not one.needs_a_text and not one.is_of_several]
    if shutil.which("curl") is None:
        found = [one for one in found if not one.line.startswith("curl ")]
    with pytest.MonkeyPatch.context() as patch, Served() as served:
        patch.chdir(folder)
        patch.delenv("CHARLM_RUNS", raising=False)
        patch.setenv("PYTHONPATH", str(ROOT))
        for command in found:
            check_shown(command, run(command, served))
        if path in (README, ROOT / "docs" / "python.md", ROOT / "docs" / "inspecting.md"):
            names: dict[str, object] = {"print": lambda *_: None}
            text = path.read_text(encoding="utf-8")
            for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
                exec(briefly(block), names)
    return len(found)


def briefly(code: str) -> str:
    """Python code that trains for a step or two in place of the seconds that it names."""
    code = re.sub(r"(charlm\.resume\(.*)seconds=\d+", r"\1steps=4", code)
    return re.sub(r"seconds=\d+", "steps=2, hidden=8", code)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the README was followed: a checkout's data, the reader's own text."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "data", folder / "data")
    shutil.copy(ROOT / "data" / "dinosaurs.txt", folder / "corpus.txt")
    assert follow(README, folder) >= 5
    shutil.rmtree(folder / "checkpoints")
    assert follow(MODELS, folder) == 2
    return folder


@pytest.mark.slow
def test_the_readme_runs_from_top_to_bottom(followed: Path) -> None:
    """Every block that needs only bundled texts: exit code 0, and the output is of that shape."""
    assert {*os.listdir(followed / "checkpoints")} >= {"prose", "words"}


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_each_page_runs_from_top_to_bottom(path: Path, followed: Path, tmp_path: Path) -> None:
    """The same of each page of docs/, in a directory that has the models of the pages."""
    shutil.copytree(followed, tmp_path / "reader")
    follow(path, tmp_path / "reader")


def test_the_pages_show_what_charlm_can_do() -> None:
    """Most of what the pages show is run."""
    found = [one for path in (README, MODELS, *PAGES) for one in commands(path)]
    assert sum(not one.needs_a_text for one in found) >= 50


@pytest.mark.parametrize("path", [README, MODELS, *PAGES], ids=lambda path: path.name)
def test_every_command_that_is_shown_is_one(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that need another text, too, have only options that there are."""
    monkeypatch.chdir(tmp_path)
    for command in commands(path):
        for line in command.line.partition(" > ")[0].split(" | "):
            line = re.sub(r"^torchrun .* -m charlm ", "charlm ", line)
            if line.startswith("charlm "):
                ended = charlm(*shlex.split(line)[1:], "--help")
                assert ended.code == 0, f"{line}: {ended.err}"


def test_links_lead_somewhere() -> None:
    """What the pages link to, files and headings, is there."""
    for path in (README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", MODELS, *PAGES):
        for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
            file, _, heading = link.partition("#")
            if link.startswith("http"):
                continue
            target = (path.parent / file).resolve() if file else path
            assert target.exists(), f"{path.name}: {link}"
            if target.suffix != ".py":  # whose lines have tests of their own
                assert not heading or heading in headings(target), f"{path.name}: {link}"


def test_the_modules_that_are_named_are_there() -> None:
    """A page that names a file of the project names one that stands there."""
    for path in (README, ROOT / "CONTRIBUTING.md", MODELS, *PAGES):
        for name in re.findall(r"`([\w/]+\.py)`", path.read_text(encoding="utf-8")):
            places = (ROOT, ROOT / "charlm", ROOT / "tests")
            there = any((place / name).exists() for place in places)
            assert there or ("/" not in name and [*ROOT.glob(f"*/**/{name}")]), (path.name, name)


def headings(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", one.lower()) for one in found)
    return {one.replace(" ", "-") for one in plain}


def test_blocks_are_found_and_what_they_show(tmp_path: Path) -> None:
    """The reading of the README is itself tested: prompts, bare lines, output, what is left out."""
    path = tmp_path / "x.md"
    path.write_text(
        "Text.\n\n    $ charlm train --demo\n    run: x\n    …\n    best: 1\n\n"
        "    charlm list\n    charlm info x  # a comment\n\n"
        "```\n$ charlm next a | head -n 1\nr\n```\n"
        "```python\ncharlm = 1\n```\n"
    )
    found = commands(path)
    assert found == [
        Command("charlm train --demo", ("run: x", "…", "best: 1")),
        Command("charlm list", ()),
        Command("charlm info x", ()),
        Command("charlm next a | head -n 1", ("r",)),
    ]
    assert [one.is_whole for one in found] == [False, True, True, True]

    assert shortened(["train", "a", "--time", "3m", "--name", "x"]) == [
        *("train", "a", "--name", "x"),
        *BUDGET,
    ]
    with pytest.raises(AssertionError):
        check_shown(Command("charlm score a", ("rank  x", "1 2 a")), ["rank  y", "1 2 a"])
    with pytest.raises(AssertionError):
        check_shown(Command("charlm score a", ("rank  x",)), ["rank  x", "1 2 a"])
