"""charlm list."""

from collections.abc import Iterator
from typing import Any

from charlm.cli import options
from charlm.cli.output.terminal import out, out_json, say
from charlm.display.safe_text import safe_text

_COLUMNS = 80


def list_cli(
    *,
    runs: options.Runs,
    json: bool = options.JSON,
) -> None:
    """List all models, newest first.

    The loss is measured on held-out text, in nats per token (per label for classifiers and
    taggers).

    \b
    charlm list
    """
    from charlm.checkpoints import about, directory

    there = directory.below(runs.root)
    if not there:
        say(f"there is no model below {runs.root}/. Train one first: charlm train FILE")
    rows = [about.summary(path) for path in there]
    if json:
        for row in rows:
            out_json(row)
    elif rows:
        for line in _table(rows):
            out(f"{line}\n")


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
