"""The command line as a process: start, signals, pipes and terminals."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "finished"
CHARLM = (sys.executable, "-m", "charlm")
# One thread each: the processes of a test run share few cores.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm-256color"}
for _name in ("NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR"):
    ENVIRONMENT.pop(_name, None)
LONG = ("train", "corpus.txt", "--name", "long", "--steps", "1000000", "--hidden", "8")
GO_ON = "saved. Go on with: charlm train --resume --name long"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a corpus and one small model."""
    folder = tmp_path_factory.mktemp("startup")
    text = "".join(f"{a}{b}{c}saurus\n" for a in "abcdefg" for b in "aeiou" for c in "klmnpqr")
    (folder / "corpus.txt").write_text(text)
    done = run("train", "corpus.txt", "--name", "small", "--steps", "3", "--hidden", "8", at=folder)
    assert done.returncode == 0, done.stderr
    return folder


def run(*arguments: str, at: Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [*CHARLM, *arguments],
        cwd=at,
        env=ENVIRONMENT,
        timeout=60,
        **{"capture_output": True, "text": True, **options},
    )


def test_help_and_version_load_nothing_heavy(tmp_path: Path) -> None:
    """Neither torch nor numpy nor sentencepiece is imported for help, version or a wrong option."""
    code = """if True:
        import io, sys
        from charlm.cli import main
        for arguments in (["tag", "-h"], ["train", "x", "--classifier", "--tagger"],
                          ["train", "x", "--tagger", "--ngram", "3"],
                          ["--version"], ["-h"], [], ["train", "-h"], ["score", "--help"], ["x"],
                          ["evaluate", "-h"], ["evaluate"], ["evaluate", "x", "--format", "x"],
                          ["next", "-h"], ["next", "--top", "-1"], ["next", "--json", "--tsv"],
                          ["sample", "--n", "x"], ["novelty", "-h"], ["novelty"],
                          ["classify", "-h"], ["classify", "x", "--json", "--tsv"],
                          ["serve", "-h"], ["inspect"], ["inspect", "gates", "-h"],
                          ["curves", "-h"],
                          ["inspect", "units", "--unit", "h1.0", "--span", "x"],
                          ["novelty", "x", "--ngrams", "0"], ["train"], ["train", "--time", "x"]):
            sys.argv = ["charlm", *arguments]
            try:
                main()
            except SystemExit:
                pass
        heavy = {"torch", "numpy", "sentencepiece", "rich.progress"} & set(sys.modules)
        assert not heavy, heavy
    """
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, timeout=60
    )


def test_a_command_is_imported_when_it_is_named(tmp_path: Path) -> None:
    """The list of all commands is there without any of them; what is named comes alone."""
    code = """if True:
        import io, sys
        from charlm.cli import main
        sys.argv = ["charlm", *sys.argv[1:]]
        try:
            main()
        finally:
            commands = "charlm.cli.commands."
            print(*(name.removeprefix(commands) for name in sys.modules if commands in name))
    """
    for arguments, expected in (
        (["--help"], ""),
        (["help"], "help"),
        (["help", "rm"], "help rm"),
        (["score", "--help"], "score.asked score.pairs score.rules score.texts score"),
        (["list"], "list"),
        (["inspect", "--help"], "inspect"),
        (["inspect", "gates", "-h"], "inspect inspect.gates"),
        (["curves", "-h"], "inspect inspect.curves"),
        (["trian"], ""),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout.splitlines()[-1] == expected


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["characters", "labels", "gaps", "classifier", "tagger"])
def test_a_network_that_is_used_brings_no_compiler(kind: str, tmp_path: Path) -> None:
    """A model of any kind is loaded and run by torch without torch._dynamo, half as large again."""
    commands = {
        "characters": "sample --n 2 --seed 0|score a|next a|evaluate --dynamic corpus.txt",
        "labels": "sample --n 2 --seed 0|score a --label north|classify a",
        "gaps": "fill a[?]b|score a|evaluate corpus.txt",
        "classifier": "classify --file corpus.txt",
        "tagger": "tag corpus.txt",
    }
    (tmp_path / "corpus.txt").write_text("pear\n" * 1000)
    code = """if True:
        import sys
        import torch  # where it is, it does the small jobs of language models, too
        from charlm.cli import main
        model, commands = sys.argv[1:]
        for command in commands.split("|"):
            sys.argv = ["charlm", *command.split(), "--model", model]
            try:
                main()
            except SystemExit as ended:
                assert not ended.code, (command, ended.code)
        assert "charlm.nn.skeleton" in sys.modules
        assert not {"torch._dynamo", "torch.onnx", "sympy"} & set(sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(GOLDEN / kind), commands[kind]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_something_is_on_the_screen_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first line comes before torch is imported, on a terminal for a long sample as well."""
    monkeypatch.setitem(ENVIRONMENT, "PYTHONPROFILEIMPORTTIME", "1")  # which tells of each import
    large = ("sample", "--n", "5000")
    for arguments in (("train", str(folder / "corpus.txt"), "--steps", "1"), large):
        with Terminal(*arguments, at=tmp_path if arguments[0] == "train" else folder) as terminal:
            assert terminal.end() == 0
            imported = re.search(rb"\| +torch\r?\n", terminal.seen)
            assert imported is not None
            assert 0 <= terminal.seen.find(b"charlm: ") < imported.start()


class Terminal:
    """The program on a pseudo-terminal of 80 columns, which is also what controls it."""

    def __init__(self, *arguments: str, at: Path) -> None:
        self.seen = b""
        self.process, self.master = pty.fork()
        if not self.process:
            os.chdir(at)
            os.execve(sys.executable, [*CHARLM, *arguments], ENVIRONMENT)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        try:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
        except (ProcessLookupError, ChildProcessError):
            pass

    def read_until(self, enough: Callable[[bytes], bool]) -> None:
        """Read until there is enough, or to the end."""
        deadline = time.perf_counter() + 60
        while not enough(self.seen):
            assert time.perf_counter() < deadline, self.seen[-500:]
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    data = os.read(self.master, 2**16)
                except OSError:  # so Linux tells that the other side was closed
                    return
                if not data:
                    return
                self.seen += data

    def end(self) -> int:
        """The exit code, after all is read."""
        if self.master >= 0:
            self.read_until(lambda _: False)
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])

    def close(self) -> None:
        """Close the terminal: the program gets SIGHUP, and no one reads what it writes."""
        if self.master >= 0:
            os.close(self.master)
            self.master = -1


def training(seen: bytes) -> bool:
    """Whether a live bar has shown figures of at least one step."""
    return seen.count(b"bits/char") > 3


@pytest.mark.slow
def test_a_signal_leaves_the_terminal_as_it_was(folder: Path, tmp_path: Path) -> None:
    """The bar fits 80 columns; after a signal the cursor is visible and the last line whole."""
    (tmp_path / "corpus.txt").write_bytes((folder / "corpus.txt").read_bytes())
    with Terminal(*LONG, at=tmp_path) as terminal:
        terminal.read_until(training)
        os.kill(terminal.process, signal.SIGTERM)
        assert terminal.end() == 143
        assert terminal.seen.rfind(b"\x1b[?25h") > terminal.seen.rfind(b"\x1b[?25l") > 0
        bare = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.seen.decode())
        told, command = GO_ON.split(": ")
        assert bare.endswith(f", {told}:\r\n  {command}\r\n")  # whole, to be copied
        bars = [line for line in re.split(r"[\r\n]+", bare) if " char/s " in line]
        assert max(map(len, bars)) <= 80
    assert list((tmp_path / "checkpoints" / "long").glob("step-*/manifest.json"))


@pytest.mark.slow
def test_a_closed_terminal_saves(folder: Path, tmp_path: Path) -> None:
    """Closing the window while training saves what there is, and ends with 129."""
    (tmp_path / "corpus.txt").write_bytes((folder / "corpus.txt").read_bytes())
    with Terminal(*LONG, at=tmp_path) as terminal:
        terminal.read_until(training)
        terminal.close()
        assert terminal.end() == 129
    assert list((tmp_path / "checkpoints" / "long").glob("step-*/manifest.json"))


def test_what_comes_next_fits_the_terminal(folder: Path) -> None:
    """A table with bars within 80 columns, and no escapes."""
    with Terminal("next", "ba", "--all", "--model", "small", at=folder) as terminal:
        assert terminal.end() == 0
    header, *rows, last = terminal.seen.decode().split("\r\n")[:-1]
    assert header.split() == ["rank", "P", "(%)", "log", "P", "(nats)", "token"]
    assert len(rows) == 20  # the letters of the corpus, <UNK> and <EOS>
    assert all("█" in row for row in rows[:3])
    assert max(map(len, (header, *rows, last))) <= 80
    assert re.fullmatch(r"entropy \d\.\d{3} bits, perplexity [\d.]+, 20 types", last)
    assert not re.search("[\x00-\x1f\x7f-\x9f]", "".join((header, *rows, last)))


@pytest.fixture
def started(folder: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A long training that was just begun, its streams in pipes."""
    (tmp_path / "corpus.txt").write_bytes((folder / "corpus.txt").read_bytes())
    with subprocess.Popen(
        [*CHARLM, *LONG],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def read_to(process: subprocess.Popen[str], word: str) -> None:
    """Read lines of stderr up to one that begins with a word."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(word):
            return
    raise AssertionError(f"no line began with {word!r}")


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["charlm: starting", "text:"])
def test_a_signal_during_the_start_ends_at_once(
    started: subprocess.Popen[str], tmp_path: Path, moment: str
) -> None:
    """While torch is imported or rates are measured there is nothing to save, and no traceback."""
    read_to(started, moment)
    started.send_signal(signal.SIGTERM)
    out, err = started.communicate(timeout=60)
    assert started.returncode == 143
    assert out == ""
    assert err.endswith(("charlm: interrupted\n", f"{GO_ON}\n"))
    assert "Traceback" not in err


@pytest.mark.slow
def test_two_signals_end_at_once(started: subprocess.Popen[str]) -> None:
    """The second Ctrl-C does not wait for the first; whichever wins, no traceback is seen."""
    read_to(started, "step ")
    started.send_signal(signal.SIGINT)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=60)
    assert started.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["sample -n 100000 --max-tokens 5 --seed 0", "list", "score -f corpus.txt"]
)
def test_a_reader_that_leaves_ends_the_program(folder: Path, command: str) -> None:
    """`| head -1` gets its line; then all ends soon, without a word about it."""
    script = f"{sys.executable} -m charlm {command} | head -1"
    done = subprocess.run(
        ["/bin/sh", "-c", script],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr in ("", "model: small (step 3)\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_a_sentence(folder: Path) -> None:
    """Output that cannot be written ends with 1 and says why, once."""
    with open("/dev/full", "w") as full:
        done = run("list", at=folder, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == "charlm: error: No space left on device.\n"


def test_closed_streams_do_no_harm(folder: Path) -> None:
    """Started without stdin, stdout and stderr the program still runs to its end."""
    script = f"{sys.executable} -m charlm list <&- >&- 2>&-"
    assert subprocess.run(["/bin/sh", "-c", script], cwd=folder, timeout=60).returncode == 0


def test_text_and_noise_are_apart(folder: Path) -> None:
    """With stderr thrown away only data is left, in UTF-8 whatever the locale."""
    environment = {**ENVIRONMENT, "LC_ALL": "C", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [*CHARLM, "score", "--tsv", "東京 😀", "é"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )
    head, *rows = done.stdout.decode("utf-8").splitlines()
    assert head.endswith("\ttext")
    assert len(rows) == 2
    assert rows[0].endswith("\t東京 😀")
    assert rows[1].endswith("\té")
    assert rows[1].split("\t")[head.split("\t").index("tokens")] == "2"  # é is one, the end another
