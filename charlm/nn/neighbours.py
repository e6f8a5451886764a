"""What a head learns beside its labels: what stands next to each token, from either side.

A bottom layer that is to say, having read a text up to t, what comes at t + 1, and having read it
down to t, what stands at t - 1, has to know how words are built; of few labels much less is to be
learned then (Dai & Le 2015, Rei 2017). The two softmaxes that say so serve training alone: they
are saved for going on, and who uses the head never meets them.

Letters: T time, B texts, H hidden units of one direction, V vocabulary, N positions that count.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WEIGHT = 1.0  # of this loss at the first step; it falls in a line to 0 at the last
MOST_TYPES = 1000  # characters, not words: a softmax over many would cost more than the head


class Neighbours(nn.Module):
    """A softmax over the types for each direction of a layer."""

    def __init__(self, hidden_size: int, vocab_size: int) -> None:
        super().__init__()
        self.after = nn.Linear(hidden_size, vocab_size)
        self.before = nn.Linear(hidden_size, vocab_size)

    def forward(self, a: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
        """Mean -log P of the next token and of the one before, in nats: a scalar.

        a (T, B, 2H) is what the two directions made of the texts, ids (T, B) what stands there,
        lengths (B,) are those of the texts. A text of one token has no neighbours.
        """
        size = a.shape[2] // 2
        inner = torch.arange(1, len(ids), device=ids.device).unsqueeze(1) < lengths  # (T - 1, B)
        after = self.after(a[:-1, :, :size][inner])  # (N, V)
        before = self.before(a[1:, :, size:][inner])
        loss = F.cross_entropy(after, ids[1:][inner], reduction="sum")
        loss = loss + F.cross_entropy(before, ids[:-1][inner], reduction="sum")
        return loss / max(1, 2 * len(after))


def weight_at(step: int, num_steps: int) -> float:
    """What this loss counts beside that of the labels."""
    return WEIGHT * max(0.0, 1 - step / num_steps)
