"""charlm info and charlm list."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlm.cli import options
from charlm.cli.terminal import out, out_json, safe_text, say

if TYPE_CHECKING:
    from charlm.labels import Labels
    from charlm.partner import Partner


def info_cli(
    model: options.Model = None,
    json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """What a model is and how it was trained.

    \b
    charlm info --model poems
    """
    from charlm import checkpoint, runs, text_index

    if runs.kind_of(path := runs.find_any(model)) != runs.LANGUAGE_MODEL:
        from charlm.cli.head_info import show_head

        show_head(path, json=json)
        return
    loaded = checkpoint.load_named(model if model is not None else path.parent.name)
    config, info = loaded.config, loaded.info
    parameters = sum(array.size for array in loaded.weights.values())
    labels = loaded.labels
    if json:
        about = {} if labels is None else {"labels": labels.to_json()}
        partner = None if loaded.partner is None else loaded.partner.to_json()
        out_json(
            {
                "path": str(loaded.path),
                "parameters": parameters,
                "partner": partner,
                **about,
                **info,
            }
        )
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
    if text_index.stands(loaded.path.parent):
        rows["index"] = "novelty.safetensors, which holds the training text"
    for key, value in rows.items():
        out(f"{key + ':':<12} {value}\n")
    if labels is not None:
        for line in _labels(labels):
            out(f"{line}\n")


def _labels(labels: "Labels") -> Iterator[str]:
    """The labels with the share that each has before a text is read, in 80 columns."""
    import math
    import textwrap

    temperature = labels.temperature
    said = "not calibrated" if temperature is None else f"temperature {temperature:.3f}"
    yield f"{'labels:':<12} {len(labels.names):,}, {said}"
    shares = [
        f"{safe_text(name)}\u00a0{math.exp(value):.1%}"
        for name, value in zip(labels.names, labels.log_prior, strict=True)
    ]
    lines = textwrap.wrap(", ".join(shares), 66, break_long_words=False, break_on_hyphens=False)
    yield from (" " * 13 + line.replace("\u00a0", " ") for line in lines)


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
    from charlm import runs

    root = Path("checkpoints")
    there = runs.below(root)
    if not there:
        say(f"there is no model below {root}/. Train one first: charlm train FILE")
    for path in there:
        best, finished = runs.best_step(path), runs.is_finished(path)
        kind = runs.kind_of(path)
        if json:
            out_json({"name": path.name, "kind": kind, "best": str(best), "finished": finished})
        else:
            what = "" if kind == runs.LANGUAGE_MODEL else f", a {kind}"
            state = "finished" if finished else "not finished"
            out(f"{safe_text(path.name):<30} {best.name}  {state}{what}\n")
