"""The page of all commands, docs/cli.md, is what the help says."""

from pathlib import Path

import pytest

from charlm.cli.app import COMMANDS, VIEWS
from charlm.cli.reference import reference
from tests.support.cli import good

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_of_commands_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/cli.md is what ``make docs`` would write, whatever the terminal and the environment."""
    monkeypatch.setenv("COLUMNS", "132")
    monkeypatch.setenv("CHARLM_RUNS", "elsewhere")
    assert PAGE.read_text(encoding="utf-8") == reference()


def test_the_page_holds_the_help_of_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """What --help prints on 80 columns stands on the page, in lines of at most as many."""
    monkeypatch.setenv("COLUMNS", "80")
    page = reference()
    assert len(COMMANDS) > 14
    for name in (*COMMANDS, *VIEWS):
        text = "\n".join(map(str.rstrip, good(*name.split(), "--help").out.splitlines()))
        assert f"\n## charlm {name}\n\n```text\n{text}\n```\n" in page
    assert max(map(len, page.splitlines())) <= 100
