"""The page at /: files of this package, read once and sent with a policy that lets nothing else in.

``assets/`` holds index.html and what it names, scripts and styles in files of their own: the policy
allows neither inline code nor anything from elsewhere.
"""

from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable

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


def assets() -> dict[str, bytes]:
    """The files of the page by their names, those in folders with the folder's."""
    return dict(_files(resources.files(__package__) / "assets", ""))


def _files(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    for one in folder.iterdir():
        if one.is_dir():
            yield from _files(one, f"{name}{one.name}/")
        elif one.name.rpartition(".")[2] in _TYPES:
            yield f"{name}{one.name}", one.read_bytes()


def routes(files: Mapping[str, bytes]) -> list[Route]:
    """A route for each file, index.html at /."""

    async def index(_: Request) -> Response:
        return _sent(_INDEX, files[_INDEX])

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        return _sent(name, files[name]) if name in files else plain("Not found.\n", 404)

    return [Route("/", index), Route("/page/{name:path}", asset)]


def _sent(name: str, data: bytes) -> Response:
    return Response(
        data,
        media_type=_TYPES[name.rpartition(".")[2]],
        headers={"content-security-policy": PAGE_POLICY},
    )
