"""charlm info and charlm list."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlm.cli.model import ModelOption
from charlm.cli.terminal import out, out_json, say

if TYPE_CHECKING:
    from charlm.partner import Partner


def info_cli(
    model: ModelOption = None,
    json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """What a model is and how it was trained.

    \b
    charlm info --model poems
    """
    from charlm import checkpoint, novelty

    loaded = checkpoint.load_named(model)
    config, info = loaded.config, loaded.info
    parameters = sum(array.size for array in loaded.weights.values())
    if json:
        partner = None if loaded.partner is None else loaded.partner.to_json()
        out_json({"path": str(loaded.path), "parameters": parameters, "partner": partner, **info})
        return
    form = getattr(loaded.tokenizer, "form", None)
    rows = {
        "path": loaded.path,
        "step": f"{loaded.step:,}",
        "level": f"{loaded.tokenizer.level}, {config.vocab_size:,} types"
        f"{f', of text read as {form}' if form else ''}",
        "sequences": f"one a {loaded.split_on}",
        "model": f"{config.num_layers} x {config.hidden_size} {config.cell}, embedding "
        f"{config.embedding_size}, {config.output_layers} output layers, dropout "
        f"{config.dropout:g}{', tied weights' if config.tie_weights else ''}",
        "parameters": f"{parameters:,}",
    }
    if config.bidirectional:
        rows["reads"] = "both sides of each token (--bidirectional): for charlm fill"
    if loaded.partner is not None:
        rows["partner"] = f"{_partner(loaded.partner)}; not with --alone"
    best = info.get("best_loss_nats_per_token")
    if isinstance(best, float):
        given = ", given all others" if config.bidirectional else ""
        rows["validation"] = f"{best:.4f} nats per token{given}"
    if novelty.stands(loaded.path.parent):
        rows["index"] = "novelty.safetensors, which holds the training text"
    for key, value in rows.items():
        out(f"{key + ':':<12} {value}\n")


def _partner(partner: "Partner") -> str:
    """What a network is mixed with."""
    what = []
    if partner.ngram is not None:
        number = sum(len(level.keys) for level in partner.ngram.levels)
        what.append(f"{number:,} n-grams (up to {partner.ngram.order})")
    if partner.cache is not None:
        what.append(f"cache ({partner.cache.window:,} tokens)")
    return ", ".join(what)


def list_cli(
    json: Annotated[bool, typer.Option("--json", help="JSON Lines.")] = False,
) -> None:
    """The models below checkpoints/, the newest first.

    \b
    charlm list
    """
    from charlm import checkpoint

    root = Path("checkpoints")
    there = checkpoint.runs(root)
    if not there:
        say(f"there is no model below {root}/. Train one first: charlm train FILE")
    for path in there:
        best, finished = checkpoint.best_step(path), checkpoint.is_finished(path)
        if json:
            out_json({"name": path.name, "best": str(best), "finished": finished})
        else:
            out(f"{path.name:<30} {best.name}  {'finished' if finished else 'not finished'}\n")
