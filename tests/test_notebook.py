"""The notebook runs from top to bottom, on the bundled texts; what it claims of itself holds."""

import re
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

NOTEBOOK = Path(__file__).parent.parent / "docs" / "notebooks" / "from-equations-to-pears.ipynb"


@pytest.fixture(scope="module")
def notebook() -> Any:
    """The notebook as it is kept."""
    return nbformat.read(NOTEBOOK, as_version=4)


def sources(notebook: Any, kind: str) -> list[str]:
    """The texts of its cells of a kind."""
    return [cell.source for cell in notebook.cells if cell.cell_type == kind]


def test_it_is_kept_without_outputs(notebook: Any) -> None:
    """They would be those of one machine, and every run would change the file."""
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) > 20
    assert not [cell for cell in cells if cell.outputs or cell.execution_count is not None]


def test_its_links_lead_somewhere(notebook: Any) -> None:
    """Pages stand beside it; nothing is fetched."""
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", "\n".join(sources(notebook, "markdown")))
    assert len(links) >= 4
    for link in links:
        assert (NOTEBOOK.parent / link).exists(), link


@pytest.mark.slow
def test_it_runs(notebook: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With models that are trained for a moment: no cell fails, and results show themselves."""
    monkeypatch.setenv("CHARLM_BRIEFLY", "1")
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):  # not the reader's own
        monkeypatch.setenv(name, str(tmp_path / name))
    place = {"metadata": {"path": str(NOTEBOOK.parent)}}
    done = nbclient.NotebookClient(notebook, timeout=300, resources=place).execute()
    pages = [
        output.data["text/html"]
        for cell in done.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "text/html" in output.get("data", {})
    ]
    assert len(pages) >= 10
    for said in (
        "1-layer lstm",
        "forget",
        "half-life",
        "position in line",
        "plain RNN",
        "agreement",
    ):
        assert any(said in page for page in pages), said
    assert not list(NOTEBOOK.parent.glob("checkpoints"))
