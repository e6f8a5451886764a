"""Files of the page: sent with their types and a policy that lets nothing else in."""

import pytest

from charlm.serving import page
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
