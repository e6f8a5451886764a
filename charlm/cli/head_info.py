"""What charlm info says of a classifier or a tagger."""

import textwrap
from collections.abc import Mapping
from pathlib import Path

from charlm.cli.output import held_out
from charlm.cli.output.terminal import out, out_json, safe_text

_LABELS = 100  # that are named
_WIDTH = 66  # columns beside the names of the rows


def show_head(path: Path, *, json: bool) -> None:
    """Describe the head of a step directory."""
    from charlm.checkpoints.head import HeadCheckpoint

    loaded = HeadCheckpoint.load(path)
    config, info = loaded.config, held_out.figures(loaded.info)
    parameters = sum(array.size for array in loaded.weights.values())
    if json:
        out_json({"path": str(loaded.path), "parameters": parameters, **info})
        return
    reads = f"words and their letters, {config.vocab_size:,} and {config.num_letters:,} types"
    if loaded.tokenizer is not None:
        reads = f"{loaded.tokenizer.level}, {config.vocab_size:,} types"
    more = len(loaded.labels) - _LABELS
    named = ", ".join(map(safe_text, loaded.labels[:_LABELS]))
    labels = f"{len(loaded.labels):,}: {named}{f' and {more:,} more' if more > 0 else ''}"
    rows = {
        "path": loaded.path,
        "kind": config.kind,
        "step": f"{loaded.step:,}",
        "level": reads,
        "labels": labels,
        "model": f"{config.num_layers} x {config.hidden_size} {config.cell} in each direction, "
        f"embedding {config.embedding_size}, dropout {config.dropout:g}",
        "parameters": f"{parameters:,}",
        "temperature": f"{loaded.temperature:.3f}",
    }
    accuracy, loss = info.get("best_accuracy"), info.get("best_loss_nats_per_label")
    if isinstance(accuracy, float) and isinstance(loss, float):
        f1 = info.get("best_span_f1")
        spans = f"F1 of spans {f1:.4f}, " if isinstance(f1, float) else ""
        rows["validation"] = f"accuracy {accuracy:.4f}, {spans}{loss:.4f} nats per label"
    elif held_out.is_none(info):
        rows["validation"] = "none, nothing was held out"
    show_rows(rows)


def show_rows(rows: Mapping[str, object]) -> None:
    """Names and what they stand for, in 80 columns; a path stays whole."""
    for key, value in rows.items():
        words = str(value)
        wrapped = textwrap.wrap(words, _WIDTH, break_long_words=False, break_on_hyphens=False)
        lines = [words] if isinstance(value, Path) else wrapped
        out(f"{key + ':':<12} {(chr(10) + ' ' * 13).join(lines)}\n")
