"""What is to be seen of something, block after block: for a page, a notebook, or a file of SVG."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple, Self

from charlm.display.drawing.svg import Drawing, inline, standalone
from charlm.display.html_file import HtmlFile, head
from charlm.display.safe_text import safe_text


class View(NamedTuple):
    """A title, and drawings and pieces of HTML (drawing/blocks.py) in the order of a page."""

    title: str
    blocks: Sequence[Drawing | str]

    def by(self, model: str) -> Self:
        """The same, with the name of the model in its title."""
        return self._replace(title=f"{self.title}, by {model}")

    @property
    def html(self) -> str:
        """All of it as one piece of HTML that needs no style sheet (a notebook)."""
        title = f'<p style="font-weight:600">{escape(safe_text(self.title))}</p>\n'
        return f"<div>\n{title}{self._body}</div>"

    @property
    def _body(self) -> str:
        """Drawings that follow one another stand side by side where there is room."""
        parts: list[str] = []
        row: list[str] = []
        for block in (*self.blocks, ""):
            if isinstance(block, Drawing):
                row.append(f'<div style="min-width:0">{inline(block)}</div>')
                continue
            if row:
                parts.append(f'<div style="{_ROW}">{"".join(row)}</div>\n')
                row = []
            parts.append(block)
        return "".join(parts)

    @property
    def svg(self) -> str:
        """Its drawings as one file of SVG; "" where there is none."""
        drawings = [block for block in self.blocks if isinstance(block, Drawing)]
        return standalone(drawings) if drawings else ""

    def write(self, path: str | Path) -> None:
        """Write it as a page that needs nothing else. Raises OSError if that cannot be."""
        with _Page(path, head(self.title, _STYLE)) as page:
            page.add(self._body)


_NARROW = 330  # pixels from which a drawing is read well
_ROW = f"display:grid;grid-template-columns:repeat(auto-fill,minmax(min({_NARROW}px,100%),1fr))"
_ROW += ";gap:1rem 1.5rem;margin:.75rem 0"


class _Page(HtmlFile):
    """The file."""

    def add(self, html: str) -> None:
        """Append a piece of HTML."""
        self._write(html)


_STYLE = """\
:root{color-scheme:light dark;--b:#fff;--i:#121212;--q:#59595f}
@media screen and (prefers-color-scheme:dark){:root{--b:#1c1c1c;--i:#eee;--q:#a6a6ad}}
body{margin:0;background:var(--b);color:var(--i);font:1rem/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .75rem;overflow-wrap:anywhere}
h2{font-size:1.125rem;margin:1.5rem 0 .5rem;overflow-wrap:anywhere}
p{margin:.75rem 0}
summary{cursor:pointer;color:var(--q);margin:.5rem 0}
th{font-weight:600;color:var(--q)}
@media print{main{max-width:none;padding:0}svg,tr{break-inside:avoid}}
"""
