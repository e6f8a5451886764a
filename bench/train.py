"""Training throughput against the machine's matrix products and a bare nn.LSTM loop."""

import numpy as np
import torch

from bench import machine
from bench.baselines import PlainLM, PlainTrainer
from charlm.config import CELLS, TrainingConfig
from charlm.network_config import CausalConfig
from charlm.text.tokens import from_ids
from tests.support.trainers import new_state, train_steps

VOCAB, BATCH, WINDOW, STEPS = 65, 64, 64, 4


def main() -> None:
    """Print tokens a second, the share of the product rate and the ratio to the bare loop."""
    rows = []
    for precision in ("fp32", "bf16"):
        dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        for layers, hidden in ((1, 320), (1, 512), (2, 512)):
            peak = machine.product_rate(BATCH * WINDOW, hidden, 4 * hidden, dtype)
            step_peak = machine.product_rate(BATCH, hidden, 4 * hidden, dtype)
            ours, plain, weights = _pair(layers, hidden, precision)
            tokens = STEPS * BATCH * WINDOW
            rate = 6 * weights * tokens / ours
            # Forward and backward each step through time with one product of BATCH rows a layer;
            # the other four of six are products of all rows at once.
            mixed = 1 / (1 / 3 / step_peak + 2 / 3 / peak)
            rows.append(
                (
                    f"{layers} x {hidden}",
                    precision,
                    f"{tokens / ours:,.0f}",
                    f"{rate / 1e9:.0f}",
                    f"{peak / 1e9:.0f} / {step_peak / 1e9:.0f}",
                    f"{mixed / 1e9:.0f}",
                    f"{rate / mixed:.0%}",
                    f"{plain / ours:.2f}",
                )
            )
    machine.table(
        (
            "LSTM",
            "precision",
            "tokens/s",
            "GFLOP/s",
            f"products of {BATCH * WINDOW} / {BATCH} rows, GFLOP/s",
            "of them as a step mixes them",
            "share of that",
            "x bare nn.LSTM loop",
        ),
        rows,
    )
    print()
    _cells()


def _pair(layers: int, hidden: int, precision: str) -> tuple[float, float, int]:
    """Seconds of STEPS steps, ours and the bare loop's, and the weights in products."""
    rng = np.random.default_rng(0)
    length = BATCH * WINDOW * 64
    ids = rng.integers(2, VOCAB, size=length).astype(np.int32)
    config = TrainingConfig(
        num_steps=10**9,
        batch_size=BATCH,
        bptt_length=WINDOW,
        segment_length=length // BATCH,
        precision=precision,
    )
    shape = CausalConfig(
        vocab_size=VOCAB, num_layers=layers, hidden_size=hidden, embedding_size=hidden
    )
    loop = train_steps(new_state(shape, config), config, from_ids([ids], VOCAB))
    model = PlainLM(VOCAB, hidden, hidden, layers)
    columns = torch.from_numpy(ids.reshape(BATCH, -1)).long()
    bare = PlainTrainer(model, columns, WINDOW, precision == "bf16")
    seconds = machine.in_turn(
        [
            lambda: [next(loop) for _ in range(STEPS)],
            lambda: [bare.step() for _ in range(STEPS)],
        ]
    )
    weights = sum(p.numel() for p in model.lstm.parameters() if p.dim() > 1)
    return seconds[0], seconds[1], weights + hidden * VOCAB


def _cells() -> None:
    """A step of every cell against the fused LSTM's at equal size."""
    rng = np.random.default_rng(0)
    text = from_ids([rng.integers(2, VOCAB, size=BATCH * WINDOW * 64).astype(np.int32)], VOCAB)
    rows = []
    for precision in ("fp32", "bf16"):
        config = TrainingConfig(
            num_steps=10**9, batch_size=BATCH, bptt_length=WINDOW, precision=precision
        )
        loops = [
            train_steps(
                new_state(
                    CausalConfig(vocab_size=VOCAB, cell=cell, hidden_size=512, embedding_size=512),
                    config,
                ),
                config,
                text,
            )
            for cell in CELLS
        ]
        seconds = machine.in_turn([lambda loop=loop: next(loop) for loop in loops])
        rows.append((precision, *(f"{s / seconds[0]:.2f}" for s in seconds)))
    machine.table(("a step, fused LSTM = 1", *CELLS), rows)
