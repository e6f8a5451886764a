"""The settings of the site: make site builds it, in docs/site/built, from the pages as they stand.

The root of the source is the checkout, so that links from docs/ to the README, to measurements and
to lines of code lead somewhere here as well. The menu is added while a page is read: the pages hold
nothing that a plain host would show as it is.
"""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MENU = {
    "Use": "train sample next score files evaluate mix mixing novelty fill labels classify tag "
    "pairs inspecting runs scale serving interoperating python",
    "Know": "cli metrics equations reliability performance architecture releasing",
}
BESIDE = ("README", "CHANGELOG", "CONTRIBUTING", "bench/RESULTS", "data/README")

project = html_title = "charlm"
root_doc = "docs/README"
extensions = ["myst_parser"]
include_patterns = ["docs/*.md", *(f"{page}.md" for page in BESIDE)]
myst_heading_anchors = 4  # called as GitHub does, which is what the pages link to
nitpicky = True
highlight_language = "none"  # of blocks that name none: they are commands and what is printed
html_theme = "furo"
html_copy_source = False
html_show_sphinx = False


def setup(app: Any) -> None:
    """Have the menu added."""
    app.connect("source-read", _add_menu)


def _add_menu(app: Any, page: str, source: list[str]) -> None:
    del app
    if page != root_doc:
        return
    told = {title: [f"/docs/{name}" for name in names.split()] for title, names in MENU.items()}
    told["Project"] = [f"/{name}" for name in BESIDE]
    source[0] += "".join(
        f"\n\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n" + "\n".join(pages) + "\n```\n"
        for title, pages in told.items()
    )
