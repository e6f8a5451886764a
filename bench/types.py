"""A million types: what a step costs, what is learned, how much memory each command takes.

python -m bench types DIR [TOKENS [STEPS]] prints three tables. First tokens per second of training
with 50,000 types and with 1,000,000, the same network and batch, in turns, each in a process of
its own: by dense steps, by row-wise ones, and with torch's adaptive softmax (Grave et al. 2017,
"Efficient softmax approximation for GPUs", its cutoffs for the billion-word corpus). Then what of
these two learns more in MINUTES. Last a text of so many TOKENS of a million types (zipf.py, of
known entropy) in DIR: trained on through the command line for STEPS steps, evaluated, scored,
sampled from. Memory is the largest resident set of each process, torch included (VmHWM).
"""

import json
import math
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bench import machine, prose, zipf
from bench.stream import Ran, run
from charlm.config import TrainingConfig
from charlm.engines.torch_passes import token_log_probs
from charlm.network_config import CausalConfig
from charlm.nn.network import flatten_targets, narrow_state
from charlm.nn.objectives import Objective, StepLoss, WindowBatch
from charlm.nn.windows import PADDING
from charlm.text.tokens import TokenizedText
from charlm.training import recipe
from charlm.training.loop import train_steps
from charlm.training.optimizer import make_optimizer
from charlm.training.window_steps import OnlyText, WindowState, WindowSteps

ROUNDS = 3
SECONDS = 8.0  # of each measurement
MINUTES = 3.0  # that each softmax learns
TYPES = 1_000_000
SPECIALS = 2  # <UNK>, <EOS>: the rarest types of the text make room for them
CUTOFFS = [4_000, 40_000, 200_000]
LARGE = (320, 256)  # hidden units, embedding: what the recipe takes for an hour or less
SMALL = (128, 64)
WAYS = {
    "V 50,000, dense": (50_000, "dense"),
    "V 50,000, row-wise": (50_000, "rows"),
    "V 1,000,000, dense": (TYPES, "dense"),
    "V 1,000,000, row-wise": (TYPES, "rows"),
    "V 1,000,000, adaptive": (TYPES, "adaptive"),
}


def main(arguments: Sequence[str]) -> None:
    """Print the tables."""
    if not arguments:
        raise SystemExit("python -m bench types DIR [TOKENS [STEPS]]: where is there room?")
    folder, *rest = arguments
    tokens, steps = (*map(int, rest), *(20_000_000, 4_000)[len(rest) :])
    Path(folder).mkdir(parents=True, exist_ok=True)
    rates()
    learned()
    through_the_command_line(Path(folder), tokens, steps)


def rates() -> None:
    """Tokens per second of each way, in turns."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    peaks = dict.fromkeys(WAYS, 0.0)
    for _ in range(ROUNDS):
        for way, (types, softmax) in WAYS.items():
            told = _started(types, softmax, SECONDS, LARGE)
            found[way].append(told["rate"])
            peaks[way] = max(peaks[way], told["peak"])
    first = statistics.median(found["V 50,000, dense"])
    rows = []
    for way, each in found.items():
        rate = statistics.median(each)
        spread = f"{min(each):,.0f} to {max(each):,.0f}"
        rows.append((way, f"{rate:,.0f}", spread, f"{rate / first:.2f}", f"{peaks[way]:,.0f}"))
    print(f"\n{LARGE[0]} units, embedding {LARGE[1]}, batch 32 x 35, {ROUNDS} rounds in turns\n")
    head = ("softmax and steps", "tokens per second", "from to", "over the first", "peak MB")
    machine.table(head, rows)


def learned() -> None:
    """What the sample and the adaptive softmax know of other text after the same time."""
    rows = []
    for way in ("rows", "adaptive"):
        told = _started(TYPES, way, 60 * MINUTES, SMALL)
        figures = (told["tokens"], told["nats"], told["perplexity"], told["ratio"])
        rows.append((way, *(f"{figure:,.4g}" for figure in figures)))
    print(f"\n{SMALL[0]} units, embedding {SMALL[1]}, {MINUTES:g} minutes each\n")
    head = ("softmax", "tokens read", "nats per token", "perplexity", "over exp(entropy)")
    machine.table(head, rows)


def _started(types: int, softmax: str, seconds: float, sizes: tuple[int, int]) -> dict[str, float]:
    """What a process of its own measures."""
    command = (sys.executable, "-m", "bench.types", types, softmax, seconds, *sizes)
    done = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)
    print(*command[3:], done.stdout.strip(), file=sys.stderr, flush=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


# In a process of its own


class Adaptive(Objective):
    """-log P of the next tokens by torch's adaptive softmax; of the embedding few rows are read."""

    row_wise = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, precision="fp32")
        self.model.embedding.sparse = True
        self.few_rows = (self.model.embedding.weight,)

    def forward(self, batch: WindowBatch, generator: torch.Generator) -> StepLoss:
        """Of the next window."""
        window, model = batch.window, self.model
        before = batch.before or model.init_state(len(window.inputs))
        before = narrow_state(before, len(window.inputs))
        hidden, after = model.hidden(window.inputs, before, generator)
        vectors, targets = flatten_targets(hidden, window.targets, PADDING)
        loss = model.adaptive(model.features(vectors), targets).loss
        return StepLoss(loss, loss, window.num_targets, state=after)


class AdaptiveSteps(WindowSteps):
    """The steps of a language model with the other softmax on it."""

    def new_state(self, config: Any, training: Any, device: Any = "cpu") -> WindowState:
        """As any, and the softmax beside."""
        state = super().new_state(config, training, device)
        state.module.adaptive = nn.AdaptiveLogSoftmaxWithLoss(
            config.embedding_size, config.vocab_size, CUTOFFS, div_value=4.0, head_bias=True
        )
        del state.module.softmax  # nothing reads it
        state.optimizer = make_optimizer(state.module.named_parameters(), training)
        return state

    def start(self, state: Any, training: Any, material: Any) -> None:
        """There is no bias of each type."""

    def objective(self, state: Any, training: Any, material: Any) -> Any:
        """The other one."""
        del training, material
        return Adaptive(state.module)


def text_of(types: int, tokens: int, seed: int) -> tuple[TokenizedText, float]:
    """Text as ids, the most frequent first, and its entropy in nats per token."""
    source = zipf.Source(types - SPECIALS)
    rng = np.random.default_rng(seed)
    ranks, lengths = source.lines(rng, round(tokens * zipf.ENDS))
    ends = np.cumsum(lengths)
    ids = np.insert(ranks.astype(np.int32) + SPECIALS, ends, 1)
    starts = np.concatenate(([0], ends + np.arange(1, len(ends) + 1)))
    return TokenizedText(ids, starts, types), source.entropy()


def _measure(types: int, softmax: str, seconds: float, hidden: int, embedding: int) -> None:
    """Train for so long; print the rate and, of a long training, what it knows of other text."""
    text, entropy = text_of(types, 4_000_000 if seconds > 60 else 600_000, 0)
    config = TrainingConfig(
        num_steps=10**9,
        batch_size=32,
        bptt_length=35,
        learning_rate=3e-3,
        row_wise=softmax != "dense",
        **recipe.sample_of_types(types, text.num_tokens),
    )
    shape = CausalConfig(
        vocab_size=types, hidden_size=hidden, embedding_size=embedding, tie_weights=True
    )
    task = AdaptiveSteps() if softmax == "adaptive" else WindowSteps()
    state = task.new_state(shape, config)
    task.start(state, config, OnlyText(text))
    steps = train_steps(task, state, config, OnlyText(text))
    for _ in range(5):
        next(steps)
    begun, tokens = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        tokens += next(steps).num_targets
    found = {"rate": tokens / (time.perf_counter() - begun), "tokens": tokens}
    if seconds > 60:
        other, _ = text_of(types, 10_000, 1)
        log_probs = np.concatenate([*_log_probs(state, other, softmax)])
        nats = -float(log_probs.mean())
        found |= {"nats": nats, "perplexity": math.exp(nats), "ratio": math.exp(nats - entropy)}
    status = Path("/proc/self/status").read_text()
    peak = re.search(r"VmHWM:\s*(\d+)", status)
    found["peak"] = int(peak[1]) / 1024 if peak else 0.0
    print(json.dumps(found))


@torch.inference_mode()
def _log_probs(state: WindowState, text: TokenizedText, softmax: str) -> Iterator[Any]:
    model = state.module.eval()
    if softmax != "adaptive":
        yield token_log_probs(model, text)[0]  # type: ignore[arg-type]
        return
    for ids in text.sequences():
        targets = torch.from_numpy(ids.astype(np.int64))
        inputs = torch.cat((torch.tensor([text.vocab_size]), targets[:-1]))
        hidden, _ = model.hidden(inputs[None], model.init_state(1))  # type: ignore[operator]
        yield model.adaptive(model.features(hidden[:, 0]), targets).output.numpy()


# Through the command line


def through_the_command_line(folder: Path, tokens: int, steps: int) -> None:
    """Train on a text, and use what comes of it."""
    source = zipf.Source(TYPES - SPECIALS)
    text, valid, test = (folder / f"{name}.txt" for name in ("train", "valid", "test"))
    if not test.exists():
        number = zipf.write(text, source, tokens, 0, every=True)
        zipf.write(valid, source, 60_000, 1)
        zipf.write(test, source, 20_000, 2)
        print(f"\n{number:,} tokens, {text.stat().st_size / 1e6:,.0f} MB")
    runs = folder / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    asked = ("--level", "word", "--vocab-size", TYPES, "--min-count", 1, "--valid", valid)
    kept = ("--runs", runs, "--name", "types")
    size = ("--hidden", 256, "--embedding", 128, "--no-index")
    ran = run("train", text, *asked, *size, "--store", folder / "ids", "--steps", steps, *kept)
    print(ran.said)
    model = ("--model", "types", "--runs", runs)
    rows = [_row(f"train, {steps:,} steps", ran)]
    evaluated = run("evaluate", test, *model, "--json")
    rows.append(_row("evaluate, 20,000 tokens", evaluated))
    rows.append(_row("score --tsv, 20,000 tokens", run("score", *model, "--file", test, "--tsv")))
    drawn = ("-n", 64, "--max-tokens", 20, "--seed", 1)
    rows.append(_row("sample -n 64, 20 tokens at most", run("sample", *model, *drawn)))
    rows.append(_row("next", run("next", *model, f"{prose.word(9)} {prose.word(99)}")))
    rows.append(_row("info", run("info", "types", "--runs", runs)))
    more = run("train", "--resume", *kept, "--no-index", "--steps", steps + 20)
    rows.append(_row("train --resume, 20 steps more", more))
    print()
    machine.table(("command", "seconds", "peak MB"), rows)
    print(evaluated.said)
    entropy = source.entropy()
    print(f"\nexp(entropy): {math.exp(entropy):,.1f} ({entropy:.4f} nats per token)")


def _row(name: str, ran: Ran) -> tuple[str, ...]:
    return name, f"{ran.seconds:,.1f}", f"{ran.peak:,.0f}"


if __name__ == "__main__":
    kind, way, *numbers = sys.argv[1:]
    _measure(int(kind), way, float(numbers[0]), int(numbers[1]), int(numbers[2]))
