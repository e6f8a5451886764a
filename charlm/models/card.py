"""The card of a model: what it is and how good, for a notebook."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from charlm.network_config import CountsConfig

if TYPE_CHECKING:
    from charlm.checkpoints.head import HeadCheckpoint
    from charlm.checkpoints.language_model import Checkpoint
    from charlm.checkpoints.pairs import PairsCheckpoint


def card(
    kind: str, checkpoint: "Checkpoint | HeadCheckpoint | PairsCheckpoint", **more: str
) -> str:
    """A table of HTML: the run, the shape, what was read and how well; ``more`` rows at its end."""
    from charlm.display.html_page import figures_table

    config = checkpoint.config
    level = checkpoint.tokenizer.level if checkpoint.tokenizer is not None else "word"
    inside: dict[str, str]
    if isinstance(config, CountsConfig):
        inside = {"counts": f"{config.num_ngrams:,} n-grams of up to {config.order} tokens"}
    else:
        parameters = sum(array.size for array in checkpoint.weights.values())
        inside = {
            "network": f"{config.num_layers}-layer {config.cell}, {config.hidden_size:,} units",
            "parameters": f"{parameters:,}",
        }
    rows = {
        "run": f"{checkpoint.path.parent.name} (step {checkpoint.step:,})",
        "vocabulary": f"{config.vocab_size:,} types at {level} level",
        **inside,
        **_held_out(checkpoint.info),
        **{name.replace("_", " "): value for name, value in more.items()},
    }
    return figures_table(rows, kind)


def _held_out(info: Mapping[str, Any]) -> dict[str, str]:
    """How good the model is on what was held out, as far as that is known."""
    names = {
        "best_loss_nats_per_token": ("validation loss", "{:.4f} nats per token"),
        "best_loss_nats_per_label": ("validation loss", "{:.4f} nats per label"),
        "best_accuracy": ("validation accuracy", "{:.1%}"),
    }
    return {
        name: form.format(info[field])
        for field, (name, form) in names.items()
        if isinstance(info.get(field), float)
    }
