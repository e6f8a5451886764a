"""charlm compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlm.cli import options
from charlm.cli.input.beginning import documents_of
from charlm.cli.input.model import load_model, together
from charlm.cli.input.run_names import completed
from charlm.cli.output.terminal import cut, out, out_json, say, say_loading
from charlm.config import RUNS
from charlm.display.safe_text import safe_text
from charlm.errors import CharlmError, UsageError

if TYPE_CHECKING:
    from charlm.inference.compare import Comparison
    from charlm.models.language_model import LanguageModel

_COLUMNS = 80


def compare_cli(
    one: Annotated[
        str,
        typer.Argument(
            help="First model: name of a run, or a path.", metavar="A", autocompletion=completed
        ),
    ],
    other: Annotated[
        str, typer.Argument(help="Second model.", metavar="B", autocompletion=completed)
    ],
    files: Annotated[
        list[str],
        typer.Argument(help="Text files, directories of them, .gz files, or - for standard input."),
    ],
    show: Annotated[
        int, typer.Option(min=0, help="Number of sequences to show: those that differ most.")
    ] = 3,
    fail_above: Annotated[
        float | None,
        typer.Option(
            help="Exit with 1 if B needs more bits per character than A by more than this, even "
            "if by chance."
        ),
    ] = None,
    resamples: Annotated[
        int, typer.Option(min=1, help="Number of bootstrap resamples for the interval.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    encoding: options.Encoding = "utf-8",
    errors: options.Errors = "strict",
    root: options.Runs = RUNS,
    closed: options.Closed = False,
    json: options.JsonObject = False,
) -> None:
    """Compare how well two models predict a text.

    The difference has a confidence interval. Models of different levels are compared by bits per
    character, unknown words and characters spelled out. If one model would pay for what the other
    does not tell apart (case, spacing, blank lines), they are refused. The files are held in
    memory.

    \b
    charlm compare words chars held-out.txt
    charlm compare old new held-out.txt --fail-above 0.01
    """
    if seed < 0:
        raise UsageError(f"--seed must not be negative, got {seed}.")
    from charlm.inference.compare import compare, model_of

    models = (_loaded(one, root), _loaded(other, root))
    documents = [document.text for document in documents_of(files, encoding, errors)]
    if not all(model.is_small(sum(map(len, documents))) for model in models):
        say_loading()
    pair = (
        model_of(models[0], one, closed=closed),
        model_of(models[1], other, closed=closed),
    )
    if closed and not pair[0].has_vocabulary_of(pair[1]):
        raise UsageError(
            f"--closed counts what is unknown as one symbol, and {one} and {other} do not know the "
            "same: leave it out, or give models of one vocabulary."
        )
    found = compare(pair, documents, resamples=resamples, seed=seed)
    ignores = [model.ignores for model in pair]
    if json:
        about = {"a": one, "b": other, "files": files, "closed": closed}
        of_each = {"ignores_a": list(ignores[0]), "ignores_b": list(ignores[1])}
        out_json({**about, **of_each, **fields(found, show)})
    else:
        for line in report(found, (one, other), show):
            out(f"{line}\n")
    if ignores[0] == ignores[1]:
        if said := together(ignores[0]):
            say(f"in both models {said}")
    else:
        for model, own, others in zip(pair, ignores, reversed(ignores), strict=True):
            if told := " or ".join(what for what in own if what not in others):
                say(f"{model.name} is told that the text does not vary in {told}; the other is not")
    if fail_above is not None and found.difference > fail_above:
        raise CharlmError(
            f"{other} needs {found.difference:.4f} bits per character more than {one}; "
            f"{fail_above:g} were allowed." + ("" if found.is_real else " That may be chance.")
        )


def _loaded(name: str, root: Path) -> "LanguageModel":
    """A model to compare. Raises UsageError if it has no bits to be compared."""
    from charlm.models.language_model import LanguageModel

    found = load_model(name, root)
    if isinstance(found, LanguageModel):
        return found
    raise UsageError(
        f"{name} reads both sides of each token, so it has no bits per character that could be "
        "compared: charlm evaluate gives the pseudo-perplexity of each such model, which compares "
        "those of one vocabulary."
    )


def fields(found: "Comparison", show: int) -> dict[str, Any]:
    """A comparison as JSON."""
    one, other = found.bits_per_character
    return {
        "characters": found.characters,
        "units": len(found.units),
        "blocks": found.num_blocks,
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
    number, blocks = len(found.units), found.num_blocks
    units = f"{number:,} unit{'s' if number != 1 else ''} of text"
    if blocks < number:
        units = f"{blocks:,} blocks of {found.block_size} units of text"
    better = shown[found.difference < 0]
    told = found.low is not None and found.high is not None
    if told:
        lines.append(f"{'95 % interval':<24} {found.low:+10.4f} to {found.high:+.4f}, {units}")
    if found.is_none:
        lines.append("no difference")
    elif not told:
        lines.append(f"too little to tell whether that is chance: {units}")
    else:
        lines.append(
            f"{better} {'is better' if found.is_real else 'may be better, or it is chance'}"
        )
    if show and len(found.units) > 1 and not found.is_none:
        lines += ["", f"{'bits more in B':>14}  text"]
        for unit in found.most_different(show):
            text = cut(safe_text(unit.text.replace("\n", "↵")), _COLUMNS - 16)
            lines.append(f"{unit.bits_more:+14.1f}  {text}")
    return lines
