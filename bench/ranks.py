"""What two processes cost against two threads: tokens per second of training.

python -m bench ranks: the same global batch of random ids read by one process with one thread and
with two, and by two processes of one thread each, as torchrun starts them (gloo); in turns, each
in processes of its own. The last columns are a step's gradients, and how long they take to be
summed when nothing else is done.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch

from bench import machine
from charlm.config import TrainingConfig
from charlm.network_config import CausalConfig
from charlm.text.tokens import from_ids
from charlm.training import recipe
from charlm.training.loop import train_steps
from charlm.training.ranks.launched import launched
from charlm.training.ranks.ranks import ALONE, Ranks
from charlm.training.tasks import TASKS
from charlm.training.window_steps import OnlyText

ROUNDS = 1
# Hidden units, layers, types, batch, window, precision.
SHAPES = (
    (128, 1, 65, 16, 64, "bf16"),
    (448, 1, 65, 16, 64, "bf16"),
    (448, 1, 65, 16, 64, "fp32"),
    (448, 1, 65, 64, 64, "bf16"),
    (1024, 2, 65, 64, 64, "bf16"),
    (400, 1, 50_000, 32, 35, "bf16"),
)
WAYS = {"1 x 1": (1, 1), "1 x 2": (1, 2), "2 x 1": (2, 1)}  # processes x threads


def main(arguments: Sequence[str] = ()) -> None:
    """Print a row for each shape."""
    if arguments:
        raise SystemExit("python -m bench ranks takes no arguments")
    rows = []
    for shape in SHAPES:
        found: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way, (processes, threads) in WAYS.items():
                rate, *beside = _started(shape, processes, threads)
                found[way].append(rate)
        rates = {way: statistics.median(each) for way, each in found.items()}
        hidden, layers, types, batch, window, precision = shape
        rows.append(
            (
                f"{layers} x {hidden}, V {types:,}, {batch} x {window}, {precision}",
                *(f"{rate:,.0f}" for rate in rates.values()),
                f"{rates['2 x 1'] / rates['1 x 2']:.2f}",
                f"{beside[0] / 1e6:.1f}",
                f"{1e3 * beside[1]:.1f}",
            )
        )
    head = ("model, batch, precision", *WAYS, "2 x 1 over 1 x 2", "MB", "ms to sum them")
    machine.table(head, rows)


def _started(shape: Sequence[object], processes: int, threads: int) -> list[float]:
    """What the first of some processes measures."""
    command = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    done = subprocess.run(
        (*command, "--nproc-per-node", str(processes), "-m", "bench.ranks", *map(str, shape)),
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": "2000"},
        check=True,
        capture_output=True,
        text=True,
    )
    return [float(word) for word in done.stdout.split()]


def _measure(shape: Sequence[str]) -> None:
    """In each process: tokens per second, the bytes of the gradients, seconds of summing them."""
    hidden, layers, vocab, batch, window = map(int, shape[:5])
    one_of = launched()
    ranks: Ranks = ALONE
    if one_of is not None:
        from charlm.training.ranks.joined import JoinedRanks

        ranks = JoinedRanks(one_of)
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, vocab - 1)  # Zipf's law
    ids = rng.choice(vocab - 2, size=600_000, p=weights / weights.sum()) + 2
    config = TrainingConfig(
        num_steps=10**9,
        batch_size=batch,
        bptt_length=window,
        precision=shape[5],
        **recipe.sample_of_types(vocab, len(ids)),
    )
    words = vocab > 1000
    model = CausalConfig(
        vocab_size=vocab,
        hidden_size=hidden,
        num_layers=layers,
        embedding_size=256 if words else 64,
        tie_weights=words,
    )
    task = TASKS["language-model"]
    state = task.new_state(model, config)
    task.deal(state, ranks)
    text = OnlyText(from_ids([ids.astype(np.int32)], vocab))
    steps = train_steps(task, state, config, text, ranks=ranks)
    news = ranks.news(time.perf_counter, lambda: False)
    for _ in range(5):
        next(steps)
    news.refresh()
    begun, tokens = news.now(), 0
    while news.now() - begun < 4:
        tokens += next(steps).num_targets
        news.refresh()  # as the loop does
    rate = tokens / (news.now() - begun)
    gradients = torch.zeros(sum(each.numel() for each in state.module.parameters()))
    begun = time.perf_counter()
    for _ in range(10):
        if one_of is not None:
            ranks.sum(gradients)  # type: ignore[attr-defined]
    seconds = (time.perf_counter() - begun) / 10
    if ranks.is_first:
        print(rate, 4 * len(gradients), seconds)
    ranks.leave()


if __name__ == "__main__":
    _measure(sys.argv[1:])
