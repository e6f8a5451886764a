"""The device that a training runs on."""

from collections.abc import Callable

import torch

from charlm.errors import UsageError
from charlm.training.request import Device


def device_of(wanted: Device | None) -> Device:
    """cpu, cuda or mps; auto takes a GPU where there is one. Raises UsageError."""
    there: dict[Device, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
    if wanted in (None, "auto"):
        return "cuda" if there["cuda"]() else "cpu"
    if wanted not in there:
        raise UsageError(f"device must be auto, cpu, cuda or mps, got {wanted!r}.")
    if not there[wanted]():
        raise UsageError(f"there is no {wanted} device here; device cpu always works.")
    return wanted
