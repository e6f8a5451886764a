"""Reading HTML and SVG strictly: every element is closed, and nothing in it runs or is fetched."""

import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

HOSTILE = (
    "<script>alert(1)</script>",
    "</svg></title></div>",
    "\"'><img src=x onerror=y>",
    "&lt;&#10;&amp",
    "]]><!--",
    "\x00\x1b[31m\x7f\x9b\x07",
    "\ud800\udfff",
    "\u202e\u2066\u2029\u200b",
    "\r\n\t\n",
    "東京😀",
    "",
)
_VOID = {"meta"}
_SVG = {"svg", "g", "path", "circle", "text", "title", "rect", "style"}
_HTML = {"html", "head", "meta", "title", "style", "body", "main", "header", "h1", "bdi", "div"}
_HTML |= {"p", "span", "i", "code", "details", "summary", "table", "thead", "tbody", "tr", "th"}
_HTML |= {"td", "svg", "g", "path", "circle", "text", "caption"}


class Markup(HTMLParser):
    """What was read: the text, and the rows of tables."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.tags: list[str] = []
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """One more that has to be closed; none that runs."""
        assert tag in _HTML, tag
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("src", "href")]
        self.tags.append(tag)
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        """The last one that was opened."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """What is read."""
        if self.open[-1:] != ["style"]:
            self.text += data
        if self.open[-2:-1] in (["td"], ["th"]) or self.open[-1:] in (["td"], ["th"]):
            self.rows[-1][-1] += data


def read(html: str) -> Markup:
    """HTML that is well formed and safe: a page, or a piece without a style sheet."""
    found = Markup()
    found.feed(html)
    found.close()
    assert not found.open
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202e\u2066]", html)
    assert not re.search(r"<script|<link|<img|@import|url\(|https?:", html)
    if html.startswith("<!DOCTYPE"):
        assert html.endswith("</html>\n")
        assert '<meta name="viewport" content="width=device-width' in html
        assert "prefers-color-scheme:dark" in html
    else:
        assert "style" not in found.tags
    return found


def read_svg(svg: str) -> list[str]:
    """The texts of a file of SVG, which is XML and holds nothing that runs."""
    root = ElementTree.fromstring(svg.encode())
    names = {one.tag.partition("}")[2] for one in root.iter()}
    assert names <= _SVG
    assert not [name for one in root.iter() for name in one.attrib if name.startswith("on")]
    assert "prefers-color-scheme:dark" in svg
    return ["".join(one.itertext()) for one in root.iter() if one.tag.endswith("}text")]
