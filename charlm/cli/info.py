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

    if checkpoint.kind_of(path := checkpoint.find_any(model)) != checkpoint.LANGUAGE_MODEL:
        from charlm.cli.head_info import show_head

        show_head(path, json=json)
        return
    loaded = checkpoint.load_named(model if model is not None else path.parent.name)
    config, info = loaded.config, loaded.info
    parameters = sum(array.size for array in loaded.weights.values())
    if json:
        out_json({"path": str(loaded.path), "parameters": parameters, **info})
        return
    rows = {
        "path": loaded.path,
        "step": f"{loaded.step:,}",
        "level": f"{loaded.tokenizer.level}, {config.vocab_size:,} types",
        "sequences": f"one a {loaded.split_on}",
        "model": f"{config.num_layers} x {config.hidden_size} {config.cell}, embedding "
        f"{config.embedding_size}, {config.output_layers} output layers, dropout "
        f"{config.dropout:g}{', tied weights' if config.tie_weights else ''}",
        "parameters": f"{parameters:,}",
    }
    if loaded.partner is not None:
        rows["partner"] = f"{_partner(loaded.partner)}; --alone leaves it out"
    best = info.get("best_loss_nats_per_token")
    if isinstance(best, float):
        rows["validation"] = f"{best:.4f} nats per token"
    if novelty.stands(loaded.path.parent):
        rows["index"] = "novelty.safetensors, which holds the training text"
    for key, value in rows.items():
        out(f"{key + ':':<12} {value}\n")


def _partner(partner: "Partner") -> str:
    """What a network is mixed with."""
    what = []
    if partner.ngram is not None:
        number = sum(len(level.keys) for level in partner.ngram.levels)
        what.append(f"{number:,} n-grams of up to {partner.ngram.order} tokens")
    if partner.cache is not None:
        what.append(f"a cache of the last {partner.cache.window:,} tokens")
    return " and ".join(what)


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
        kind = checkpoint.kind_of(path)
        if json:
            out_json({"name": path.name, "kind": kind, "best": str(best), "finished": finished})
        else:
            what = "" if kind == checkpoint.LANGUAGE_MODEL else f", a {kind}"
            state = "finished" if finished else "not finished"
            out(f"{path.name:<30} {best.name}  {state}{what}\n")
