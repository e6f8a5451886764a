"""How cost grows: with the units, the batch, the vocabulary and the text."""

import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bench import machine
from bench.sample import Letters
from charlm.config import SamplingConfig, TrainingConfig
from charlm.engines.torch_lm import TorchEngine
from charlm.engines.torch_passes import token_log_probs
from charlm.inference.sample import Sampler
from charlm.network_config import CausalConfig
from charlm.nn.causal import RecurrentLM
from charlm.text.tokens import from_ids
from charlm.training import recipe
from tests.support.trainers import new_state, train_steps

HEAD = (
    "parameters",
    "train bf16, tokens/s",
    "sample 200, tokens/s",
    "score, tokens/s",
)


def main(arguments: Sequence[str] = ()) -> None:
    """Print a table for each of the four."""
    if arguments:
        raise SystemExit("python -m bench growth takes no arguments")
    print("hidden units (one layer, V 65, training batch 16, 64 steps)\n")
    rows = [(hidden, *_speeds(hidden, 65, 16)) for hidden in (128, 256, 512, 768, 1024)]
    machine.table(("hidden", *HEAD), rows)
    print("\nbatch (1 x 512, V 65; sampling so many streams)\n")
    rows = [(batch, *_speeds(512, 65, batch, batch)) for batch in (1, 4, 16, 64, 256, 512)]
    machine.table(("batch", *HEAD[:2], "sample, tokens/s", HEAD[3]), rows)
    print("\nvocabulary (1 x 400, embedding 256, tied, training batch 32, 35 steps)\n")
    rows = [(f"{v:,}", *_speeds(400, v, 32, words=True)) for v in (100, 1000, 5000, 20000, 50000)]
    machine.table(("types", *HEAD), rows)
    print("\ntext: seconds from the file to ids, and the largest memory of the process\n")
    rows = []
    for megabytes in (0.1, 1, 10, 50):
        row: list[object] = [megabytes]
        for level in ("char", "word", "subword"):
            row.append(_reading(megabytes, level))
        rows.append(row)
    machine.table(("MB", "char", "word", "subword"), rows)


def _speeds(
    hidden: int, vocab: int, batch: int, streams: int = 200, words: bool = False
) -> tuple[str, ...]:
    """Parameters, and tokens a second of training, sampling and scoring."""
    shape = CausalConfig(
        vocab_size=vocab,
        hidden_size=hidden,
        embedding_size=256 if words else 64,
        tie_weights=words,
    )
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, vocab - 1)  # Zipf's law
    ids = rng.choice(vocab - 2, size=600_000, p=weights / weights.sum()) + 2
    window = 35 if words else 64
    config = TrainingConfig(
        num_steps=10**9,
        batch_size=batch,
        bptt_length=window,
        precision="bf16",
        **recipe.sample_of_types(vocab, len(ids)),
    )
    text = from_ids([ids.astype(np.int32)], vocab)
    loop = train_steps(new_state(shape, config), config, text)
    steps = max(2, 4000 // (batch * window))
    (train,) = machine.in_turn([lambda: [next(loop) for _ in range(steps)]], 3)
    model = RecurrentLM(shape).eval()
    with torch.no_grad():
        # As peaked as a trained model's: by Zipf's law; no <EOS>, so every row runs to its end.
        model.softmax.bias -= torch.arange(1, vocab + 1).log()
        model.softmax.bias[1] = -100
    sampler = Sampler(TorchEngine(model), Letters(vocab))  # type: ignore[arg-type]
    length = max(4, min(100, 4000 // streams))
    sampling = SamplingConfig(max_tokens=length)
    few = from_ids(np.array_split(ids[:30_000].astype(np.int32), 64), vocab)
    sample, score = machine.in_turn(
        [
            lambda: list(sampler.sample(streams, sampling, batch_size=streams)),
            lambda: token_log_probs(model, few),
        ],
        3,
    )
    parameters = sum(p.numel() for p in model.parameters())
    rates = (steps * batch * window / train, streams * length / sample, 30_000 / score)
    return (f"{parameters:,}", *(f"{rate:,.0f}" for rate in rates))


def _reading(megabytes: float, level: str) -> str:
    """Seconds and memory of reading a text of so many MB, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        words = Path("data/prose.txt").read_text().split()
        rng, size = random.Random(0), 0
        with path.open("w") as file:
            while size < megabytes * 1e6:
                size += file.write(" ".join(rng.choices(words, k=12)) + "\n")
        command = [sys.executable, "-m", "bench.growth", str(path), level]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _read(path: str, level: str) -> None:
    """What the process of ``_reading`` does."""
    from charlm.tokenizers import train_tokenizer
    from charlm.training.request import Request
    from charlm.training.speller import speller_of
    from charlm.training.texts.material import text_material
    from charlm.training.texts.sequences import read_texts

    begun = time.perf_counter()
    texts = read_texts(Request(corpus=(path,), level=level), lambda _: None)
    tokenizer = train_tokenizer(texts.train, level=level)
    speller = speller_of(tokenizer, texts, 0, lambda _: None)
    material = text_material(texts, tokenizer, speller)
    seconds = time.perf_counter() - begun
    print(f"{seconds:.1f} s, {_peak():,.0f} MB, {material.text.num_tokens:,} tokens")


def _peak() -> float:
    """The largest memory of this process in MB; getrusage would count its parent's, too."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s*(\d+)", status.read_text())[1]) / 1024  # type: ignore[index]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    _read(*sys.argv[1:])
