"""What comes with charlm: pinned, hashed, and quiet until it is asked."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.tiny import trained_run

ROOT = Path(__file__).parent.parent
# Run in a child: it tells of every socket and every process that is asked for.
WATCHED = """if True:
    import sys
    def watch(event, arguments):
        if event.startswith(("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn",
                             "os.spawn", "os.system", "os.startfile", "pty.", "ftplib.", "http.",
                             "imaplib.", "poplib.", "smtplib.", "urllib.", "webbrowser.")):
            sys.__stderr__.write(f"WATCHED {event}\\n")
    sys.addaudithook(watch)
"""


def watched(code: str, at: Path) -> tuple[str, str]:
    """What a child prints, and which of those events it caused."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED + code], cwd=at, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, "".join(re.findall(r"WATCHED .*\n", done.stderr))


def test_the_watch_sees_sockets_and_processes(tmp_path: Path) -> None:
    """Or the next test would be worth nothing."""
    code = """
    import socket, subprocess
    socket.socket().close()
    subprocess.run([sys.executable, "-c", ""], check=True)
    """
    events = watched(code, tmp_path)[1]
    assert "socket." in events
    assert "subprocess.Popen" in events


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        """
    import charlm
    from charlm import load, LanguageModel
    """,
        """
    from charlm.cli import main
    sys.argv = ["charlm", "--help"]
    try:
        main()
    except SystemExit:
        pass
    """,
        """
    from charlm.cli import main
    for arguments in (["score", "a cat", "a dog"], ["sample", "--n", "2"], ["next", "a c"],
                      ["info"], ["list"], ["tokenize", "a cat"]):
        sys.argv = ["charlm", *arguments]
        try:
            main()
        except SystemExit as end:
            assert not end.code, arguments
    """,
        """
    import charlm
    model = charlm.load("run")
    print(model.model.config, model.score("the cat").total_log_prob)
    """,
    ],
    ids=["import", "help", "commands", "torch"],
)
def test_nothing_is_fetched_and_nothing_started(code: str, tmp_path: Path) -> None:
    """Importing charlm, its help, and using a saved model open no socket and start no process."""
    trained_run(tmp_path / "checkpoints" / "run")
    out, events = watched(code, tmp_path)
    assert not events
    assert out or "import charlm\n    from" in code


def test_every_package_has_its_hashes() -> None:
    """requirements-hashed.txt has the versions of constraints.txt, each with a hash, but torch."""
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    hashed = (ROOT / "requirements-hashed.txt").read_text()
    found = {}
    for name, version, hashes in re.findall(
        r"^([\w.-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", hashed, re.M
    ):
        found[plain(name)] = version
        assert hashes
    assert found == {plain(name): pin for name, pin in pins.items() if name != "torch"}
    assert hashed.count("==") == len(found)


def test_what_packages_need_is_pinned_too() -> None:
    """Each package that a pinned one needs on this machine is in constraints.txt itself.

    But for what torch needs of NVIDIA's and Triton, which CPU builds do without.
    """
    text = (ROOT / "constraints.txt").read_text()
    pinned = {plain(name) for name in re.findall(r"^([\w.-]+)==", text, re.M)}
    missing = set()
    for name in pinned:
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                missing |= {plain(need.name)} - pinned
    gpu = ("nvidia-", "cuda-", "triton")
    assert not {name for name in missing if not name.startswith(gpu)}


def plain(name: str) -> str:
    """The name of a package as packaging tools compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
