"""The page at /: files of this package, read once and sent with a policy that lets nothing else in.

``assets/`` holds index.html and what it names, scripts and styles in files of their own: the policy
allows neither inline code nor anything from elsewhere.
"""

from collections.abc import Mapping
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from charlm.serving.guard import PAGE_POLICY, plain

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ico": "image/x-icon",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
}
_INDEX = "index.html"
_NO_PAGE = "There is no page here yet. The API is described at /openapi.json.\n"


def assets() -> dict[str, bytes]:
    """The files of the page by their names."""
    folder = resources.files(__package__) / "assets"
    if not folder.is_dir():
        return {}
    files = (one for one in folder.iterdir() if one.name.rpartition(".")[2] in _TYPES)
    return {one.name: one.read_bytes() for one in files}


def routes(files: Mapping[str, bytes]) -> list[Route]:
    """A route for each file, index.html at /; without one a plain text stands there."""

    async def index(_: Request) -> Response:
        return _sent(_INDEX, files[_INDEX]) if _INDEX in files else plain(_NO_PAGE, 404)

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        return _sent(name, files[name]) if name in files else plain("Not found.\n", 404)

    return [Route("/", index), Route("/page/{name}", asset)]


def _sent(name: str, data: bytes) -> Response:
    return Response(
        data,
        media_type=_TYPES[name.rpartition(".")[2]],
        headers={"content-security-policy": PAGE_POLICY},
    )
