"""Completion: what a shell is told of commands, choices, options and names of runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def completed(words: list[str], at: Path) -> list[str]:
    """What bash is offered for the last of the words."""
    environment = {
        **os.environ,
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
        "_CHARLM_COMPLETE": "complete_bash",
    }
    done = subprocess.run(
        [sys.executable, "-m", "charlm"],
        cwd=at,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two runs, one of them elsewhere."""
    folder = tmp_path_factory.mktemp("completion")
    for path in ("checkpoints/poems", "checkpoints/plays", "elsewhere/poets"):
        step = folder / path / "step-00000001"
        step.mkdir(parents=True)
        (step / "manifest.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("charlm tra", ["train", "translate"]),
        ("charlm train --level w", ["word"]),
        ("charlm train --task c", ["cloze", "classifier"]),
        ("charlm train --normalize nfk", ["NFKC", "NFKD"]),
        ("charlm train --learning", ["--learning-rate"]),
        ("charlm train --time 1", []),
        ("charlm sample --model po", ["poems"]),
        ("charlm sample --runs elsewhere -m p", ["poets"]),
        ("charlm sample --runs nowhere -m p", []),
        ("charlm info pl", ["plays"]),
        ("charlm rm x", []),
    ],
)
def test_a_shell_is_offered_what_may_stand_there(
    folder: Path, line: str, offered: list[str]
) -> None:
    """Commands, options, choices in any case, and the runs of the directory of runs."""
    assert completed(line.split(), folder) == offered


def test_zsh_completes_at_the_first_tab() -> None:
    """zsh runs the script as the body of the function: it must complete, not only be defined."""
    script = COMPLETED.sub("", zsh_script())
    assert script.startswith("#compdef charlm")
    assert script.rstrip().endswith('_charlm_completion "$@"\nfi')
    assert "$zsh_eval_context[-1] == loadautofunc" in script


COMPLETED = re.compile(r"\x1b\[[0-9;]*m")


def zsh_script() -> str:
    """What --show-completion prints where the shell is zsh."""
    program = (
        "import shellingham, sys; shellingham.detect_shell = lambda: ('zsh', 'zsh');"
        "from charlm import cli; sys.argv = ['charlm', '--show-completion']; cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
