"""Sampling against the plain loop that steps nn.LSTM."""

import numpy as np
import torch

from bench import machine
from bench.baselines import PlainLM, plain_sample
from charlm.config import SamplingConfig
from charlm.engines.torch_lm import TorchEngine
from charlm.engines.torch_steps import TorchDecoder
from charlm.inference.sample import Sampler
from charlm.network_config import CausalConfig
from charlm.nn.causal import RecurrentLM


class Letters:
    """A tokenizer of one letter a type, for models that were never trained."""

    level, unk_id, eos_id, notes = "char", 0, 1, ()

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


def main() -> None:
    """Print tokens a second, steps alone and whole, and the ratio to the plain loop."""
    rows = []
    bandwidth = machine.memory_bandwidth()
    for layers, hidden, vocab, batch, length in (
        (1, 320, 65, 1, 400),
        (2, 512, 65, 1, 200),
        (1, 320, 65, 200, 40),
        (2, 512, 65, 200, 20),
        (1, 400, 30_000, 1, 60),
        (1, 400, 30_000, 200, 6),
    ):
        embedding = hidden
        shape = CausalConfig(
            vocab_size=vocab, num_layers=layers, hidden_size=hidden, embedding_size=embedding
        )
        model = RecurrentLM(shape).eval()
        with torch.no_grad():
            # As peaked as a trained model's: by Zipf's law; no <EOS>, so every row runs to its end.
            model.softmax.bias -= torch.arange(1, vocab + 1).log()
            model.softmax.bias[1] = -100
        sampler = Sampler(TorchEngine(model), Letters(vocab))  # type: ignore[arg-type]
        config = SamplingConfig(max_tokens=length)
        plain = PlainLM(vocab, embedding, hidden, layers).eval()
        decoder = TorchDecoder(model)
        whole, stepped, baseline = machine.in_turn(
            [
                lambda: list(sampler.sample(batch, config, batch_size=batch)),
                lambda: _steps(decoder, batch, length),
                lambda: plain_sample(plain, batch, length),
            ]
        )
        recurrent = sum(
            p.numel() for n, p in model.named_parameters() if "weight" in n and "emb" not in n
        )
        if batch == 1:
            floor = 4 * recurrent / bandwidth
        else:
            floor = (
                2
                * recurrent
                * batch
                / machine.product_rate(batch, hidden, 4 * hidden, torch.float32)
            )
        rows.append(
            (
                f"{layers} x {hidden}, V {vocab:,}",
                batch,
                f"{batch * length / whole:,.0f}",
                f"{whole / length * 1e3:.3f}",
                f"{stepped / length * 1e3:.3f}",
                f"{floor * 1e3:.3f}",
                f"{baseline / whole:.1f}",
            )
        )
    machine.table(
        (
            "LSTM",
            "batch",
            "tokens/s",
            "ms a step",
            "of it the network",
            "floor",
            "x plain nn.LSTM loop",
        ),
        rows,
    )
    print(
        "\nfloor: the weights read once from memory (batch 1), or the products at the rate measured"
        " for one (batch 200)"
    )


@torch.inference_mode()
def _steps(decoder: TorchDecoder, batch: int, length: int) -> None:
    ids = np.zeros(batch, dtype=np.int64)
    state = decoder.init_state(batch)
    for _ in range(length):
        _, state = decoder.step(ids, state)
