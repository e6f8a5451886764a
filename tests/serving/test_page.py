"""Files of the page: sent with their types and a policy that lets nothing else in."""

import collections
import posixpath
import re
from pathlib import PurePosixPath

import pytest

from charlm.display.shading import DARK, LIGHT
from charlm.serving import page
from charlm.serving.server import Server
from tests.support.serving import ask, serving

FILES = {
    "index.html": b"<!doctype html>",
    "page.js": b"1",
    "page.css": b"p{}",
    "icon.svg": b"<svg/>",
}


def test_files_are_sent_as_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """index.html at /, the others below /page/; without a key, for a browser has none at first."""
    monkeypatch.setattr(page, "assets", lambda: FILES)
    with serving("characters", key="k") as server:
        for path, name, kind in (
            ("/", "index.html", "text/html; charset=utf-8"),
            ("/page/page.js", "page.js", "text/javascript; charset=utf-8"),
            ("/page/page.css", "page.css", "text/css; charset=utf-8"),
            ("/page/icon.svg", "icon.svg", "image/svg+xml"),
        ):
            answer = ask(server, path)
            assert (answer.status, answer.data) == (200, FILES[name])
            assert answer.headers["content-type"] == kind
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "http" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert ask(server, "/page/other.js", headers={"Authorization": "Bearer k"}).status == 404
        assert ask(server, "/page/other.js").status == 401


def test_what_the_package_holds_is_found() -> None:
    """Files of types that a browser knows, and no others."""
    assert all(name.rpartition(".")[2] in page._TYPES for name in page.assets())


SCRIPTS = {name: data.decode() for name, data in page.assets().items() if name.endswith(".js")}
STYLES = {name: data.decode() for name, data in page.assets().items() if name.endswith(".css")}
INDEX = page.assets()["index.html"].decode()
SVG = "http://www.w3.org/2000/svg"  # a name, not an address


def test_nothing_comes_from_elsewhere() -> None:
    """No script, style, font or picture."""
    for name, data in page.assets().items():
        assert "://" not in data.decode().replace(SVG, ""), name
        assert "url(" not in data.decode(), name
        assert "@import" not in data.decode(), name


def test_the_policy_holds() -> None:
    """No code and no style within the markup; no text becomes markup or code."""
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]* src=)", INDEX)
    for name, script in SCRIPTS.items():
        unsafe = (
            r"innerHTML|outerHTML|insertAdjacentHTML|DOMParser|document\.write|\beval\b|Function\("
        )
        assert not re.search(unsafe, script), name
        assert 'setAttribute("style"' not in script, name


def test_files_of_the_page_hang_together() -> None:
    """Each is named by another that is there, and names only such."""
    named = {
        name.removeprefix("page/") for name in re.findall(r'(?:src|href)="(page/[^"]+)"', INDEX)
    }
    for name, script in SCRIPTS.items():
        folder = PurePosixPath(name).parent
        for target in re.findall(r'^import .*? from "(.+?)";$|^\} from "(.+?)";$', script, re.M):
            named.add(posixpath.normpath(str(folder / "".join(target))))
    assert named == page.assets().keys() - {"index.html"}


def test_files_can_be_read() -> None:
    """None is long, no line is, no folder holds many."""
    for name, text in {**SCRIPTS, **STYLES, "index.html": INDEX}.items():
        assert len(text.splitlines()) <= 300, name
    for name, script in SCRIPTS.items():
        lines = script.splitlines()
        assert max(map(len, lines)) <= 105, name
        assert lines[0].startswith("// "), name
    folders = collections.Counter(str(PurePosixPath(name).parent) for name in page.assets())
    assert max(folders.values()) <= 16


def test_shades_are_those_of_the_command_line() -> None:
    """In light and in dark."""
    light, _, dark = STYLES["style.css"].partition("prefers-color-scheme: dark")
    for part, shades in ((light, LIGHT), (dark, DARK)):
        found = re.findall(r"--b([0-7]): (#\w{6}); --i\1: (#\w{6});", part)
        assert found == [(str(i), shade.background, shade.ink) for i, shade in enumerate(shades)]


def test_the_page_is_served(server: Server) -> None:
    """index.html at /, and all files that the package holds."""
    assert ask(server, "/").data == page.assets()["index.html"]
    for name, data in page.assets().items():
        assert ask(server, f"/page/{name}").data == data
    for path in ("/page/../app.py", "/page/views/../../__init__.py", "/page/index.htm", "/page/"):
        assert ask(server, path).status == 404
