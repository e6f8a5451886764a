"""charlm compare."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlm.cli import options
from charlm.cli.terminal import cut, out, out_json, safe_text, say, say_loading
from charlm.config import RUNS
from charlm.errors import CharlmError, UsageError

if TYPE_CHECKING:
    from charlm.api import LanguageModel
    from charlm.comparison import Comparison, Model

_COLUMNS = 80


def compare_cli(
    one: Annotated[str, typer.Argument(help="A model: a run's name, or a path.", metavar="A")],
    other: Annotated[str, typer.Argument(help="Another one.", metavar="B")],
    files: Annotated[list[str], typer.Argument(help="Files, .gz files, directories; - is stdin.")],
    show: Annotated[
        int, typer.Option(min=0, help="How many of the sequences that differ most are shown.")
    ] = 3,
    fail_above: Annotated[
        float | None,
        typer.Option(help="End with 1 if B needs more bits per character than A by this much."),
    ] = None,
    resamples: Annotated[
        int, typer.Option(min=1, help="How often the text is drawn anew for the interval.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the drawing.")] = 0,
    root: options.Runs = RUNS,
    encoding: options.FilesEncoding = "utf-8",
    errors: options.Errors = "strict",
    json: options.Json = False,
) -> None:
    """Which of two models predicts a text better, and whether that is more than chance.

    They may be of different levels: bits per character are compared, unknown words and
    characters spelled out. The files are held in memory.

    \b
    charlm compare words chars held-out.txt
    charlm compare old new held-out.txt --fail-above 0.01
    """
    if seed < 0:
        raise UsageError(f"--seed must not be negative, got {seed}.")
    from charlm import api
    from charlm.comparison import compare
    from charlm.corpus import read_documents

    models = (api.load(one, root=root), api.load(other, root=root))
    read = read_documents(files, encoding=encoding, errors=errors)
    for note in (note for document in read for note in document.notes):
        say(note)
    documents = [document.text.replace("\r\n", "\n") for document in read]
    if not all(model.is_small(sum(map(len, documents))) for model in models):
        say_loading()
    pair = (_model(models[0], one), _model(models[1], other))
    found = compare(pair, documents, resamples=resamples, seed=seed)
    if json:
        out_json({"a": one, "b": other, "files": files, **fields(found, show)})
    else:
        for line in report(found, (one, other), show):
            out(f"{line}\n")
    if fail_above is not None and found.difference > fail_above:
        raise CharlmError(
            f"{other} needs {found.difference:.4f} bits per character more than {one}; "
            f"{fail_above:g} were allowed."
        )


def _model(loaded: "LanguageModel", name: str) -> "Model":
    from charlm.comparison import Model

    if loaded.config.bidirectional:
        raise UsageError(
            f"{name} reads both sides of each token, so it has no bits per character that could be "
            "compared: charlm evaluate gives the pseudo-perplexity of each such model, which "
            "compares those of one vocabulary."
        )
    if loaded.unknown is None:
        raise UsageError(
            f"{name} cannot spell what it does not know, so its bits are not those of the text. "
            "Train it anew."
        )
    return Model(
        lambda texts, per_token: loaded.score_all(texts, per_token=per_token),
        loaded.checkpoint.split_on,
    )


def fields(found: "Comparison", show: int) -> dict[str, Any]:
    """A comparison as JSON."""
    one, other = found.bits_per_character
    return {
        "characters": found.characters,
        "units": len(found.units),
        "bits_per_character_a": one,
        "bits_per_character_b": other,
        "oov_rate_a": found.oov_rates[0],
        "oov_rate_b": found.oov_rates[1],
        "difference_bits_per_character": found.difference,
        "interval_low": found.low,
        "interval_high": found.high,
        "share_of_resamples_b_better": found.share,
        "is_real": found.is_real,
        "most_different": [
            {"text": unit.text, "bits_more_in_b": unit.bits_more}
            for unit in found.most_different(show)
        ],
    }


def report(found: "Comparison", names: tuple[str, str], show: int) -> list[str]:
    """A comparison for a person, in lines of at most 80 columns."""
    shown = [cut(safe_text(name), 24) for name in names]
    lines = [f"{'model':<24} {'bits/char':>10} {'OOV rate':>10}"]
    for name, bits, rate in zip(shown, found.bits_per_character, found.oov_rates, strict=True):
        lines.append(f"{name:<24} {bits:10.4f} {'-' if rate is None else f'{rate:.2%}':>10}")
    lines += ["", f"{'difference':<24} {found.difference:+10.4f} bits/char"]
    if found.low is None or found.high is None or found.share is None:
        lines.append("one unit of text only: whether that is chance cannot be told")
        return lines
    lines.append(
        f"{'95 % interval':<24} {found.low:+10.4f} to {found.high:+.4f}, "
        f"{len(found.units):,} units of text"
    )
    better = shown[found.difference < 0]
    verdict = "is better" if found.is_real else "may be better, or it is chance"
    lines.append(f"{better} {verdict}")
    if show and len(found.units) > 1:
        lines += ["", f"{'bits more in B':>14}  text"]
        for unit in found.most_different(show):
            text = cut(safe_text(unit.text.replace("\n", "↵")), _COLUMNS - 16)
            lines.append(f"{unit.bits_more:+14.1f}  {text}")
    return lines
