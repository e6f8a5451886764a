"""A server that the tests of a module share; its threads end with them."""

from collections.abc import Iterator

import pytest

from charlm.serving.server import Server
from tests.support.serving import GOLDEN, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """All models of tests/golden; the first is that of characters."""
    names = [path.name for path in sorted(GOLDEN.iterdir())]
    with serving(*names) as found:
        yield found
