"""The plain loops that everybody writes first: what charlm is measured against."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PlainLM(nn.Module):
    """Embedding, nn.LSTM, linear: nothing else."""

    def __init__(self, vocab_size: int, embedding: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding)
        self.lstm = nn.LSTM(embedding, hidden, layers)
        self.linear = nn.Linear(hidden, vocab_size)

    def forward(self, inputs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple]:
        """Logits (T, B, V) for inputs (T, B)."""
        outputs, state = self.lstm(self.embedding(inputs), state)
        return self.linear(outputs), state


class PlainTrainer:
    """The bare training loop on ids (B, N): forward, backward, clip, AdamW."""

    def __init__(self, model: PlainLM, ids: Tensor, window: int, bf16: bool) -> None:
        self.model, self.ids, self.window, self.bf16 = model, ids.t().contiguous(), window, bf16
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        shape = (model.lstm.num_layers, ids.shape[0], model.lstm.hidden_size)
        self.state = (torch.zeros(shape), torch.zeros(shape))
        self.at = 0

    def step(self) -> None:
        """One window."""
        if self.at + self.window + 1 > len(self.ids):
            self.at = 0
        inputs = self.ids[self.at : self.at + self.window]
        targets = self.ids[self.at + 1 : self.at + self.window + 1]
        self.at += self.window
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            logits, state = self.model(inputs, self.state)
            loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.state = tuple(tensor.detach().float() for tensor in state)  # type: ignore[assignment]


@torch.inference_mode()
def plain_sample(model: PlainLM, batch: int, length: int) -> Tensor:
    """The sampling loop that steps nn.LSTM: ids (B, length)."""
    shape = (model.lstm.num_layers, batch, model.lstm.hidden_size)
    state = (torch.zeros(shape), torch.zeros(shape))
    inputs = torch.zeros(1, batch, dtype=torch.long)
    drawn = []
    for _ in range(length):
        logits, state = model(inputs, state)
        inputs = torch.multinomial(F.softmax(logits[0], dim=-1), 1).t()
        drawn.append(inputs)
    return torch.cat(drawn).t()
