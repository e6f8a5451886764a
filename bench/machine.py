"""What this machine can do, measured: matrix products and memory."""

import datetime
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from charlm.nn.linear import Product


def describe() -> str:
    """Date, processor, threads and versions in a line."""
    return (
        f"{datetime.date.today()}  {_processor()}, {torch.get_num_threads()} threads, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def in_turn(runs: Sequence[Callable[[], object]], rounds: int = 5) -> list[float]:
    """Median seconds of each, taken in turn A B C A B C …, so that drift hits all alike."""
    for run in runs:
        run()
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, its in zip(runs, times, strict=True):
            begun = time.perf_counter()
            run()
            its.append(time.perf_counter() - begun)
    return [statistics.median(its) for its in times]


def product_rate(rows: int, inner: int, columns: int, dtype: torch.dtype) -> float:
    """Floating-point operations a second of (rows, inner) x (inner, columns), the best way."""
    a = torch.randn(rows, inner).to(dtype)
    b = torch.randn(inner, columns).to(dtype)
    out = torch.empty(rows, columns, dtype=dtype)
    packed = Product(b.t())
    repeats = max(1, int(2e9 / (rows * inner * columns)))

    def plain() -> None:
        for _ in range(repeats):
            torch.mm(a, b, out=out)

    def laid_out() -> None:
        for _ in range(repeats):
            packed(a)

    with torch.inference_mode():
        seconds = min(in_turn([plain, laid_out] if dtype == torch.float32 else [plain], 7))
    return 2 * rows * inner * columns * repeats / seconds


def memory_bandwidth() -> float:
    """Bytes a second read by summing an array far larger than the caches."""
    array = torch.ones(64 * 2**20)
    (seconds,) = in_turn([array.sum], 7)
    return array.numel() * 4 / seconds


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
