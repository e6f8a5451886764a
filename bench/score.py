"""Scoring against a bare forward pass of the same network over the same tokens."""

import numpy as np
import torch
import torch.nn.functional as F

from bench import machine
from bench.baselines import PlainLM
from charlm.engines.torch_passes import token_log_probs
from charlm.network_config import CausalConfig
from charlm.nn.causal import RecurrentLM
from charlm.text.tokens import from_ids

TOKENS = 60_000
SIZES = (  # layers, hidden, vocabulary
    (1, 320, 65),
    (2, 512, 65),
    (1, 400, 10_000),
    (1, 400, 30_000),
    (1, 400, 50_000),
)


def main() -> None:
    """Print tokens a second for one long text, many short ones and the bare forward pass."""
    rows = []
    rng = np.random.default_rng(0)
    for layers, hidden, vocab in SIZES:
        shape = CausalConfig(
            vocab_size=vocab, num_layers=layers, hidden_size=hidden, embedding_size=hidden
        )
        model = RecurrentLM(shape).eval()
        plain = PlainLM(vocab, hidden, hidden, layers).eval()
        ids = rng.integers(2, vocab, size=TOKENS).astype(np.int32)
        one = from_ids([ids[: TOKENS // 4]], vocab)
        many = from_ids(np.array_split(ids, 32), vocab)
        cuts = np.sort(rng.choice(TOKENS, TOKENS // 30, replace=False))
        short = from_ids([piece for piece in np.split(ids, cuts) if len(piece)], vocab)
        seconds = machine.in_turn(
            [
                lambda: token_log_probs(model, one),
                lambda: _bare(plain, ids[: TOKENS // 4].reshape(1, -1)),
                lambda: token_log_probs(model, many),
                lambda: _bare(plain, ids.reshape(32, -1)),
                lambda: token_log_probs(model, short),
            ],
            3,
        )
        rates = [n / s for n, s in zip((TOKENS // 4,) * 2 + (TOKENS,) * 3, seconds, strict=True)]
        rows.append(
            (
                f"{layers} x {hidden}, V {vocab:,}",
                f"{rates[0]:,.0f}",
                f"{rates[0] / rates[1]:.2f}",
                f"{rates[2]:,.0f}",
                f"{rates[2] / rates[3]:.2f}",
                f"{rates[4]:,.0f}",
            )
        )
    machine.table(
        (
            "LSTM",
            "one text, tokens/s",
            "x bare pass",
            "32 texts, tokens/s",
            "x bare pass",
            "texts of 30 tokens, tokens/s",
        ),
        rows,
    )


@torch.inference_mode()
def _bare(model: PlainLM, ids: np.ndarray) -> None:
    """Forward in windows of 256 with the log-probability of each target."""
    inputs = torch.from_numpy(ids).long().t()
    shape = (model.lstm.num_layers, ids.shape[0], model.lstm.hidden_size)
    state = (torch.zeros(shape), torch.zeros(shape))
    for at in range(0, len(inputs) - 1, 256):
        window = inputs[at : at + 257]
        logits, state = model(window[:-1], state)
        F.cross_entropy(logits.flatten(0, 1), window[1:].flatten(), reduction="none")
