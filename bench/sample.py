"""Sampling against the plain loop that steps nn.LSTM, and against the products by themselves.

python -m bench sample takes models that were never trained, python -m bench sample RUN [RUN ...]
trained ones, counts and cache beside them where a run has them.
"""

import functools
import itertools
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from bench import machine
from bench.baselines import PlainLM, plain_sample
from charlm.config import SamplingConfig
from charlm.engines.torch_lm import TorchEngine
from charlm.engines.torch_steps import TorchDecoder
from charlm.inference.sample import Drawn, Sampler
from charlm.models.load import load
from charlm.network_config import CausalConfig
from charlm.nn.causal import RecurrentLM
from charlm.nn.linear import Product

SIZES = (  # layers, hidden, vocabulary, batch, tokens of a sequence
    (1, 320, 65, 1, 400),
    (2, 512, 65, 1, 200),
    (1, 320, 65, 200, 40),
    (2, 512, 65, 200, 20),
    (1, 320, 10_000, 1, 100),
    (1, 320, 10_000, 200, 10),
    (1, 400, 30_000, 1, 60),
    (1, 400, 30_000, 200, 6),
)
HEAD = (
    "LSTM",
    "batch",
    "tokens/s",
    "ms a step",
    "of it the network",
    "floor",
    "of the floor's speed",
    "doubtful draws",
    "x plain nn.LSTM loop",
)


class Letters:
    """A tokenizer of one letter a type, for models that were never trained."""

    level, unk_id, eos_id, notes, ignores = "char", 0, 1, (), ()

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def encode_prompt(self, _: str) -> np.ndarray:
        """No prompt."""
        return np.empty(0, dtype=np.int32)

    def unknown(self, _: str) -> list[str]:
        """Nothing."""
        return []

    def decode(self, ids: list[int], _: object = ()) -> str:
        """One character a token."""
        return "".join(map(chr, ids))


def main(runs: Sequence[str] = ()) -> None:
    """Print tokens a second, steps alone and whole, and the ratios to the floor and the loop."""
    rows = []
    for name in runs:
        lm = load(name, task="language-model")
        model = lm.model
        for batch, length in ((1, 60), (200, 15)):
            sampler = lm.sampler(10**6, SamplingConfig())
            assert isinstance(sampler, Sampler)
            rows.append((name, *_row(sampler, model, batch, length)))
    for layers, hidden, vocab, batch, length in () if runs else SIZES:
        shape = CausalConfig(
            vocab_size=vocab, num_layers=layers, hidden_size=hidden, embedding_size=hidden
        )
        model = RecurrentLM(shape).eval()
        with torch.no_grad():
            # As peaked as a trained model's: by Zipf's law; no <EOS>, so every row runs to its end.
            model.softmax.bias -= torch.arange(1, vocab + 1).log()
            model.softmax.bias[1] = -100
        sampler = Sampler(TorchEngine(model), Letters(vocab))  # type: ignore[arg-type]
        rows.append((f"{layers} x {hidden}, V {vocab:,}", *_row(sampler, model, batch, length)))
    machine.table(HEAD, rows)
    print("\nfloor: the products of a step alone, of the same sizes")


def _row(sampler: Sampler, model: RecurrentLM, batch: int, length: int) -> tuple[object, ...]:
    """What is to be said of one model and batch, each measured in turn with the others."""
    config = model.config
    decoder = TorchDecoder(model)
    plain = PlainLM(
        config.vocab_size, config.embedding_size, config.hidden_size, config.num_layers
    ).eval()
    drawn: list[int] = []  # tokens of each run
    doubtful = 0
    exactly = sampler._exact_logits

    def counted(lanes: list) -> np.ndarray:
        nonlocal doubtful
        doubtful += len(lanes)
        return exactly(lanes)

    def sample() -> None:
        # So many tokens of sequences without number: no step has fewer rows than the batch.
        asked = SamplingConfig(max_tokens=length, seed=len(drawn))
        told = sampler.tokens(10**6, asked, batch_size=batch)
        tokens = (one for one in told if isinstance(one, Drawn))
        drawn.append(sum(1 for _ in itertools.islice(tokens, 2 * batch * length)))

    sampler._exact_logits = counted  # type: ignore[method-assign]
    whole, stepped, baseline, *products = machine.in_turn(
        [
            sample,
            lambda: _steps(decoder, batch, length),
            lambda: plain_sample(plain, batch, length),
            *(functools.partial(_products, model, batch, length, one) for one in (False, True)),
        ]
    )
    step = whole / (sum(drawn) / len(drawn)) * batch  # seconds
    floor = min(products) / length
    return (
        batch,
        f"{batch / step:,.0f}",
        f"{step * 1e3:.3f}",
        f"{stepped / length * 1e3:.3f}",
        f"{floor * 1e3:.3f}",
        f"{floor / step:.2f}",
        f"{doubtful} of {sum(drawn):,}",
        f"{baseline / length / step:.1f}",
    )


@torch.inference_mode()
def _steps(decoder: TorchDecoder, batch: int, length: int) -> None:
    ids = np.zeros(batch, dtype=np.int64)
    state = decoder.init_state(batch)
    for _ in range(length):
        _, state = decoder.step(ids, state)


@functools.lru_cache(maxsize=4)
def _weights(model: RecurrentLM, packed: bool) -> list:
    """Each product of a step: of every layer's gates, and of the softmax."""
    weights = [layer.weight_hh for layer in model.layer_weights()]
    weights += [layer.weight_ih for layer in model.layer_weights()[1:]]
    weights += [model.softmax_weight, *([model.projection.weight] if model.projection else [])]
    if packed:
        return [(weight.shape[1], Product(weight)) for weight in weights]
    return [(weight.shape[1], functools.partial(F.linear, weight=weight)) for weight in weights]


@torch.inference_mode()
def _products(model: RecurrentLM, batch: int, length: int, packed: bool) -> None:
    """So many times each product of a step, and nothing else."""
    for _ in range(length):
        for inner, product in _weights(model, packed):
            product(torch.ones(batch, inner))
