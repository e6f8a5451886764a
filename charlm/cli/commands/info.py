"""charlm info and charlm list."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlm.cli import options
from charlm.cli.head_info import show_head, show_rows
from charlm.cli.input.option_rules import OneOf, Rules
from charlm.cli.input.run_names import completed
from charlm.cli.output import held_out
from charlm.cli.output.terminal import out, out_json, safe_text, say
from charlm.config import RUNS
from charlm.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from charlm.counts.interpolation import Partner
    from charlm.inference.labels import Labels

RULES: Rules = (OneOf("NAME", "--model"),)
_COLUMNS = 80


def info_cli(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Name of a run, or a path.  [default: the newest finished run]",
            show_default=False,
            autocompletion=completed,
        ),
    ] = None,
    model: options.Model = None,
    root: options.Runs = RUNS,
    json: options.JsonObject = False,
) -> None:
    """Describe a model and how it was trained.

    \b
    charlm info poems
    """
    model = name if name is not None else model
    from charlm.checkpoints import directory
    from charlm.checkpoints.language_model import Checkpoint
    from charlm.novelty import text_index

    if directory.kind_of(path := directory.find_any(model, root)) != directory.LANGUAGE_MODEL:
        show_head(path, json=json)
        return
    loaded = Checkpoint.find(model if model is not None else path.parent.name, root)
    config, info = loaded.config, held_out.figures(loaded.info)
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
                "ignores": list(loaded.tokenizer.ignores),
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
    if loaded.tokenizer.ignores:
        rows["ignores"] = ", ".join(loaded.tokenizer.ignores)
    if config.bidirectional:
        rows["reads"] = "both sides of each token (--bidirectional): for charlm fill"
    if loaded.partner is not None:
        rows["partner"] = f"{_partner(loaded.partner)}; not with --alone"
    best = info.get("best_loss_nats_per_token")
    if held_out.is_none(info):
        rows["validation"] = "none, nothing was held out"
    elif isinstance(best, float):
        given = ", given all others" if config.bidirectional else ""
        symbol = ", <UNK> as one symbol" if held_out.size(info, "unknown_nats") else ""
        rows["validation"] = f"{best:.4f} nats per token{given}{symbol}"
    if text_index.stands(loaded.path.parent):
        rows["index"] = "novelty.safetensors, which holds the training text"
    show_rows(rows)
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
    root: options.Runs = RUNS,
    json: options.Json = False,
) -> None:
    """List all models, newest first.

    The loss is measured on held-out text, in nats per token (per label for classifiers and
    taggers).

    \b
    charlm list
    """
    from charlm.checkpoints import directory

    there = directory.below(root)
    if not there:
        say(f"there is no model below {root}/. Train one first: charlm train FILE")
    rows = [_row(path) for path in there]
    if json:
        for row in rows:
            out_json(row)
    elif rows:
        for line in _table(rows):
            out(f"{line}\n")


def _row(run: Path) -> dict[str, Any]:
    """What is told of a run, without loading its model; what cannot be read is None."""
    from charlm.checkpoints import directory
    from charlm.checkpoints.step import StepFiles
    from charlm.config import HeadConfig, ModelConfig
    from charlm.equations import heads, parameters

    best, kind = directory.best_step(run), directory.kind_of(run)
    row: dict[str, Any] = {
        "name": run.name,
        "kind": kind,
        "best": str(best),
        "finished": directory.is_finished(run),
        "level": None,
        "parameters": None,
        "loss_nats": None,
    }
    try:
        files = StepFiles(best)
        info = held_out.figures(files.json("model.json"))
        if kind == directory.LANGUAGE_MODEL:
            shapes = parameters.shapes(ModelConfig.from_json(info.get("model")))
        else:
            shapes = heads.shapes(HeadConfig.from_json(info.get("model")))
        row["parameters"] = sum(map(math.prod, shapes.values()))
        row["level"] = "word"
        if "tokenizer.json" in files:
            row["level"] = files.json("tokenizer.json").get("level")
    except (CheckpointError, UsageError) as error:
        return {**row, "error": str(error)}
    unit = "token" if kind == directory.LANGUAGE_MODEL else "label"
    loss = info.get(f"best_loss_nats_per_{unit}")
    row["loss_nats"] = loss if isinstance(loss, float) and math.isfinite(loss) else None
    return row


def _table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """A header and a line for each; a name too long for its column has a line of its own."""
    heads = ("name", "kind", "level", "parameters", "loss", "state")
    cells = [heads]
    for row in rows:
        size, loss = row["parameters"], row["loss_nats"]
        state = "finished" if row["finished"] else "not finished"
        cells.append(
            (
                safe_text(row["name"]),
                row["kind"],
                safe_text(str(row["level"] or "-")),
                "-" if size is None else f"{size:,}",
                "-" if loss is None else f"{loss:.4f}",
                "damaged" if "error" in row else state,
            )
        )
    widths = [max(len(line[column]) for line in cells) for column in range(len(heads))]
    widths[0] = min(widths[0], max(4, _COLUMNS - sum(widths[1:]) - 2 * (len(heads) - 1)))
    for name, kind, level, size, loss, state in cells:
        if len(name) > widths[0]:
            yield name
            name = ""
        yield (
            f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {level:<{widths[2]}}  "
            f"{size:>{widths[3]}}  {loss:>{widths[4]}}  {state}"
        )
