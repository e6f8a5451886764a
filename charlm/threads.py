"""Threads beside other programs: how long they wait for each other, and how many suit the machine.

Threads that share a product wait for each other at its end. GNU's OpenMP, which torch's wheels for
Linux bring, lets them spin for milliseconds: beside another program, whenever one thread is off
its core, the others burn their time for nothing, and two threads become fifty times slower than
one. Threads that sleep at once have to be woken, which takes longer than many a product.
docs/performance.md has the figures.
"""

import os
import sys
import time
from collections.abc import MutableMapping

_SPINS = (
    "2000"  # some 20 microseconds: as fast as spinning for milliseconds where nothing else runs
)
_FEW_SPINS = "100"
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_LOAD = "/proc/loadavg"
_BLOCK = bytes(2**16)


def wait_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads spin for a moment and then sleep, unless the environment says how they wait.

    OpenMP reads that when torch is imported; where it is already, nothing is changed.
    """
    if "torch" not in sys.modules and not any(name in environment for name in _WAITING):
        environment["GOMP_SPINCOUNT"] = _SPINS


def share_cores(environment: MutableMapping[str, str] = os.environ, load: str = _LOAD) -> None:
    """Let torch begin as suits the programs that run now, where the system tells of them (Linux).

    Cores on which they run are left to them. Where they run on all there is nothing to be left
    out: then threads hardly wait for each other. What the environment says stands; once torch is
    imported nothing is changed.
    """
    if "torch" in sys.modules or "OMP_NUM_THREADS" in environment:
        return
    others = _running_beside(load)
    if others is None or others <= 0:
        return
    if others < num_cores():
        environment["OMP_NUM_THREADS"] = str(num_cores() - others)
    elif environment.get("GOMP_SPINCOUNT") == _SPINS:
        environment["GOMP_SPINCOUNT"] = _FEW_SPINS


def one_by_one(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let NumPy's products have one thread, for what reads token after token.

    A product of one row gains nothing by a second thread, and OpenBLAS lets threads spin: beside
    another program two are dozens of times slower than one. What the environment says
    stands; once NumPy is imported nothing is changed.
    """
    if "numpy" not in sys.modules:
        environment.setdefault("OPENBLAS_NUM_THREADS", "1")


def neighbours(load: str = _LOAD) -> int:
    """About how many other programs want a core of this process at this moment."""
    found = _running_beside(load)
    if found is None:
        found = round(num_cores() * (1 / max(0.01, fair_share(0.1)) - 1))
    return found


def _running_beside(load: str) -> int | None:
    """The same as Linux tells it, of a machine with more cores than ours our part; else None."""
    found = []
    for again in range(3):
        if again:
            time.sleep(0.002)  # what runs for a moment only is not what is meant
        try:
            with open(load) as file:
                running = int(file.read().split()[3].partition("/")[0])
        except (OSError, ValueError, IndexError):
            return None
        if running < 1:  # it says nothing: not even that this program runs
            return None
        found.append(running - 1)
        if running == 1:
            break
    return round(min(found) * num_cores() / (os.cpu_count() or 1))


def num_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def fair_share(seconds: float = 0.2) -> float:
    """The share (0 to 1) of its cores that this process gets, by trying to use all of them.

    1 where nothing else runs, a half where as many other programs do as there are cores.
    """
    import hashlib
    import threading

    def work() -> None:
        while time.perf_counter() < end:
            hashlib.sha256(_BLOCK)  # in which other threads may run

    workers = [threading.Thread(target=work) for _ in range(num_cores())]
    begun, used = time.perf_counter(), time.process_time()
    end = begun + seconds
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    used = time.process_time() - used
    return min(1.0, used / (time.perf_counter() - begun) / len(workers))
