"""What has portions done: this process, or several."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charlm.text.portions import Mapped


@contextlib.contextmanager
def in_processes(number: int | None) -> "Iterator[Mapped]":
    """What has portions done in so many processes while the ``with`` is; None is this one alone.

    They run models on torch, whatever the size of the job, with one thread each.
    """
    if number is None:
        from charlm.text.portions import in_turn

        yield in_turn
        return
    from charlm.bulk.processes import Processes

    with Processes(number, modules=["torch"]) as processes:
        yield processes
