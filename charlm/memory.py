"""Memory that was freed goes back to the system.

glibc keeps freed blocks of up to 32 MB in its heap, and a small block behind a large one pins it:
a program that makes large arrays again and again, and keeps a number of each, grows by some 100 MB
for every 8 MB of text that it scores. Having each large block mapped by itself (M_MMAP_THRESHOLD)
costs four times the system's time; giving free pages back between two portions of a text costs
nothing that can be measured.
"""

import ctypes
import functools
import sys
from collections.abc import Callable


def give_back() -> None:
    """Give pages that nothing uses back to the system, where the C library can (glibc)."""
    _trim()(0)


@functools.cache
def _trim() -> Callable[[int], int]:
    if sys.platform != "linux":
        return lambda padding: padding
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library
        return lambda padding: padding
    return trim
