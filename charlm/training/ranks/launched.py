"""What torchrun, or whatever else starts several processes, says of them in the environment."""

import os
from collections.abc import Mapping
from typing import NamedTuple

from charlm.errors import UsageError

_NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Launched(NamedTuple):
    """Process number ``rank`` of ``size``; of its machine ``local_rank`` of ``local_size``."""

    rank: int
    size: int
    local_rank: int
    local_size: int


def launched(environment: Mapping[str, str] = os.environ) -> Launched | None:
    """Which process of several this is; None where it is alone. Raises UsageError."""
    if not all(name in environment for name in _NAMES):
        return None
    try:
        rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        local_rank = int(environment.get("LOCAL_RANK", rank))
        local_size = int(environment.get("LOCAL_WORLD_SIZE", size))
    except ValueError:
        rank = local_rank = size = local_size = -1
    if not (0 <= rank < size and 0 <= local_rank < local_size):
        raise UsageError("RANK and WORLD_SIZE in the environment name no process: start torchrun.")
    return Launched(rank, size, local_rank, local_size) if size > 1 else None
