"""charlm compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from charlm.cli import options
from charlm.cli.input.beginning import documents_of
from charlm.cli.input.declared import option
from charlm.cli.input.model import is_translator, load_model, together, translator
from charlm.cli.input.option_rules import Needs, OneOf, Rules
from charlm.cli.input.pairs import only_of_texts, pairs_of
from charlm.cli.input.run_names import completed
from charlm.cli.output.reports.comparison import pairs_report, report
from charlm.cli.output.terminal import out, out_json, say, say_loading
from charlm.config import Adapt
from charlm.errors import CharlmError, UsageError

if TYPE_CHECKING:
    from charlm.inference.pairs.compare import PairComparison
    from charlm.models.language_model import LanguageModel

RULES: Rules = (OneOf("--beam", "--greedy"), Needs("--header", options.COLUMNS))


def compare_cli(
    *,
    one: str = typer.Argument(
        help="First model: name of a run, or a path.", metavar="A", autocompletion=completed
    ),
    other: str = typer.Argument(help="Second model.", metavar="B", autocompletion=completed),
    files: list[str] = typer.Argument(
        help="Text files, directories of them, .gz files, or - for standard input."
    ),
    show: int = option("Number of sequences to show: those that differ most.", 3, least=0),
    fail_above: float | None = option(
        "Exit with 1 if B needs more bits per character than A by more than this, even if by "
        "chance; of translators, nats per target token."
    ),
    resamples: int = option("Number of bootstrap resamples for the interval.", 10_000, least=1),
    seed: int = option("Random seed.", 0),
    sides: options.Sides,
    header: bool = options.HEADER,
    search: options.Search,
    decoding: options.Decoding,
    runs: options.Runs,
    closed: bool = options.CLOSED,
    adapt: Literal["off", "frozen", "sequence"] = option(
        "Mix in contexts of the training text in each model trained with --adaptive; sequence: go "
        "on learning within each sequence.",
        "off",
        heading=options.MODEL,
    ),
    json: bool = options.JSON_OBJECT,
) -> None:
    """Compare how well two models predict a text.

    The difference has a confidence interval. Models of different levels are compared by bits per
    character, unknown words and characters spelled out. If one model would pay for what the other
    does not tell apart (case, spacing, blank lines), they are refused. The files are held in
    memory.

    \b
    charlm compare words chars held-out.txt
    charlm compare old new held-out.txt --fail-above 0.01
    charlm compare small large pairs-test.tsv
    """
    if seed < 0:
        raise UsageError(f"--seed must not be negative, got {seed}.")
    of_pairs = sides.are_asked or search.are_asked
    if of_pairs or any(is_translator(name, runs.root) for name in (one, other)):
        only_of_texts(closed=closed, adapt=adapt != "off")
        pairs = pairs_of(files, sides.places(header=header), decoding)
        first, second = (
            translator(options.PairsModel(model=name, root=runs.root)) for name in (one, other)
        )
        say_loading()
        compared = first.compare(
            second,
            pairs,
            beam=search.width,
            max_tokens=search.max_tokens,
            length_penalty=search.length_penalty,
            resamples=resamples,
            seed=seed,
        )
        if json:
            out_json({"a": one, "b": other, "files": files, **compared.to_json(show)})
        else:
            out("".join(f"{line}\n" for line in pairs_report(compared, (one, other), show)))
        _judge_pairs(compared, (one, other), fail_above)
        return
    from charlm.inference.compare import compare, model_of

    models = _adapting(_loaded(one, runs.root), _loaded(other, runs.root), adapt)
    documents = [document.text for document in documents_of(files, decoding)]
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
        out_json({**about, **of_each, **found.to_json(show)})
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


def _judge_pairs(found: "PairComparison", names: tuple[str, str], fail_above: float | None) -> None:
    """Raise CharlmError if the second model is worse by more than was allowed."""
    one, other = names
    if found.loss is None:
        said = f"{one} and {other} cut targets into other tokens, so their nats are not compared"
        if fail_above is not None:
            raise UsageError(f"{said}: leave out --fail-above.")
        say(said)
    elif fail_above is not None and found.loss.difference > fail_above:
        raise CharlmError(
            f"{other} needs {found.loss.difference:.4f} nats per target token more than {one}; "
            f"{fail_above:g} were allowed." + ("" if found.loss.is_real else " That may be chance.")
        )


def _adapting(
    one: "LanguageModel", other: "LanguageModel", adapt: Adapt
) -> "tuple[LanguageModel, LanguageModel]":
    """The same, those that can adapting. Raises UsageError if neither can."""
    can = [model.checkpoint.adaptive is not None for model in (one, other)]
    if adapt == "off" or not any(can):
        return one.adapting(adapt), other
    return one.adapting(adapt if can[0] else "off"), other.adapting(adapt if can[1] else "off")


def _loaded(name: str, root: Path) -> "LanguageModel":
    """A model to compare. Raises UsageError if it has no bits to be compared."""
    from charlm.models.language_model import LanguageModel

    found = load_model(options.Model(model=name, root=root))
    if isinstance(found, LanguageModel):
        return found
    raise UsageError(
        f"{name} reads both sides of each token, so it has no bits per character that could be "
        "compared: charlm evaluate gives the pseudo-perplexity of each such model, which compares "
        "those of one vocabulary."
    )
