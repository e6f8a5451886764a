"""charlm evaluate."""

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal

import typer

from charlm.bulk.mapped import in_processes
from charlm.cli import options
from charlm.cli.input.beginning import labelled_of, sequences_of
from charlm.cli.input.declared import option
from charlm.cli.input.model import (
    evaluator,
    language_model,
    load_any,
    named_translator,
    translator,
)
from charlm.cli.input.option_rules import Apart, Needs, OneOf, Rules
from charlm.cli.input.pairs import only_of_texts, pairs_of
from charlm.cli.output.meter import Meter
from charlm.cli.output.metrics_block import write, write_checks
from charlm.cli.output.reports.pairs import evaluate_pairs
from charlm.cli.output.terminal import say_loading
from charlm.config import Split
from charlm.errors import UsageError
from charlm.metrics import Unit

if TYPE_CHECKING:
    from charlm.inference.evaluate import Summary
    from charlm.models.base import TextDistribution
    from charlm.models.cloze_model import ClozeModel
    from charlm.text.portions import Mapped
    from charlm.text.streaming import Piece

RULES: Rules = (
    *options.MIXING,
    options.PARTNERS,
    Needs(("--split-on", "--encoding", "--errors"), "FILES"),
    Needs("--rate", "--dynamic"),
    Needs("--text-column", "--labelled column:*"),
    Needs("--header", ("--labelled column:*", *options.COLUMNS)),
    Needs("--text-field", "--labelled field:*"),
    Apart("--json", ("--format table", "--format kenlm"), "those are two forms"),
    Apart(
        "--check",
        ("--closed", "--dynamic", "--format kenlm", "--unit", "--labelled"),
        "it looks at all of the model, and prints no figures of texts",
    ),
    Needs("--jobs", "FILES"),
    Apart("--jobs", ("--check", "--dynamic"), "those are done by one process"),
    Apart(
        ("--dynamic", "--adapt"),
        ("--format kenlm", "--labelled"),
        "there is no place for two figures",
    ),
    Apart("--adapt", ("--jobs", "--check"), "those look at the model as it was trained"),
    Apart(
        "--dynamic",
        ("--adapt frozen", "--adapt sequence"),
        "the network learns all along the file, as with --adapt file",
    ),
    OneOf("--beam", "--greedy"),
    Apart("--unit", "--format kenlm", "KenLM's four lines are in log10"),
    Apart("--labelled", "--label", "each sequence has its own label"),
    Apart(
        "--split-on", ("--labelled column:*", "--labelled field:*"), "each line is a sequence there"
    ),
)
_NO_LABELS = "a mixture of models knows no labels: give one model with --labelled."
_NOT_DYNAMIC = "a mixture cannot learn as it reads: leave out --dynamic, or give a model."


def evaluate_cli(
    *,
    files: list[str] | None = typer.Argument(
        None,
        help="Text files, directories of them, .gz files, or - for standard input.",
        show_default=False,
    ),
    dynamic: bool = option("Also evaluate the model as it learns from what it reads.", False),
    rate: float | None = option(
        "Step size of --dynamic.  [default: 0.15 for characters, else 0.4]"
    ),
    check: bool = option("Check that the model's probabilities sum to 1.", False),
    split_on: Split | None = options.SPLIT_AS_TRAINED,
    known: options.Labelled,
    header: bool = options.HEADER,
    decoding: options.Decoding,
    models: options.Judged,
    closed: bool = options.CLOSED,
    jobs: int | None = options.JOBS,
    unit: Unit = options.UNIT,
    json: bool = options.JSON_OBJECT,
    sides: options.Sides,
    search: options.Search,
    bleu: bool = option(
        "Print BLEU and chrF of a translator, too; needs sacrebleu (charlm[bleu]).",
        False,
        heading=options.OUTPUT,
    ),
    form: Literal["table", "json", "kenlm"] = option(
        "Format of the figures; kenlm prints the four lines of KenLM's query.",
        "table",
        "--format",
        heading=options.OUTPUT,
    ),
) -> None:
    """Measure how well a model predicts a text.

    Prints perplexities, bits per character, and the share of unknown tokens. Several files give
    one block of figures over all of them. --check tests the model's own arithmetic, on the files
    or on a text that it draws.

    --adapt and --dynamic add a second block: figures of what learns from the text as it reads it.
    Every token is predicted before it is learned from. They are not those of a static model.

    \b
    charlm evaluate sentences.txt
    charlm evaluate poems/ news.gz --json
    charlm evaluate sentences.txt --dynamic
    charlm evaluate novel.txt --model adaptive --adapt file
    zcat news.gz | charlm evaluate - --format kenlm --closed
    charlm evaluate --model names --labelled file names/
    charlm evaluate --check
    charlm evaluate --model numbers pairs-test.tsv
    """
    form = "json" if json else form
    if not files and not check:
        raise UsageError("give a file to evaluate on: charlm evaluate FILE")
    files = files or []
    if one := named_translator(models, of_pairs=bleu or sides.are_asked or search.are_asked):
        only_of_texts(
            check=check,
            dynamic=dynamic,
            split_on=split_on,
            labelled=known.labelled,
            weights=models.weights,
            tune=models.tune,
            by_character=models.by_character,
            label=models.label,
            adapt=models.adapt != "off",
            closed=closed,
            format=form == "kenlm",
        )
        pairs = pairs_of(files, sides.places(header=header), decoding)
        say_loading()
        with in_processes(jobs) as mapped:
            evaluate_pairs(
                translator(one),
                pairs,
                search,
                files=files,
                bleu=bleu,
                unit=unit,
                json=form == "json",
                mapped=mapped,
            )
        return
    from charlm.models.cloze_model import ClozeModel

    loaded = load_any(models)
    split: str = split_on or loaded.checkpoint.split_on
    if isinstance(loaded, ClozeModel) and (check or dynamic or form == "kenlm"):
        raise UsageError(
            "this model reads both sides of each token: --dynamic, --check and KenLM's lines are "
            "about probabilities of texts read from left to right. Leave them out."
        )
    if check and not isinstance(loaded, ClozeModel):
        from charlm.models.selfcheck import check_model, drawn_texts, some_texts

        pieces = sequences_of(files, split, decoding) if files else None
        texts = drawn_texts(loaded) if pieces is None else some_texts(pieces)
        results = check_model(loaded, texts)
        write_checks(results, loaded.tokenizer.ignores, as_json=form == "json")
        return
    learning = None
    if (source := known.source(header=header)) is not None:
        found, split = labelled_of(files, source, split if source.is_of_files else None, decoding)
        say_loading()
        model = language_model(loaded, _NO_LABELS)
        with in_processes(jobs) as mapped:
            summary = model.evaluate_labelled(found, closed=closed, mapped=mapped)
    else:
        pieces = sequences_of(files, split, decoding)
        if dynamic:
            from charlm.engines.dynamic import RATES

            rate = RATES[loaded.tokenizer.level] if rate is None else rate
            if language_model(loaded, _NOT_DYNAMIC).labels is not None:
                raise UsageError(
                    "a model with labels cannot learn as it reads: leave out --dynamic."
                )
        with in_processes(jobs) as mapped:
            summary, learning = _summaries(loaded, files, pieces, closed, rate, mapped)
    write(
        summary,
        learning,
        loaded,
        files=files,
        split_on=split,
        form=form,
        unit=unit,
        adapt=models.adapt,
        rate=rate,
    )


def _summaries(
    loaded: "TextDistribution | ClozeModel",
    files: list[str],
    pieces: "Iterable[Piece]",
    closed: bool,
    rate: float | None,
    mapped: "Mapped",
) -> "tuple[Summary, Summary | None]":
    """The figures of all files, with a look at those so far while they are read.

    With a rate, or of a model that adapts, also those of what learns from them, read in the same
    pass.
    """
    from charlm.models.cloze_model import ClozeModel

    end = 0

    def watched() -> "Iterator[Piece]":
        nonlocal end
        for piece in pieces:
            end = piece.end
            yield piece

    before = 0
    meter = Meter(*files, noun="characters", silent=True)
    if meter.size is None or not loaded.is_small(meter.size) or rate is not None:
        say_loading()
    summaries: Iterator[tuple[Summary, Summary | None]]
    if isinstance(loaded, ClozeModel):
        found_pseudo = loaded.pseudo_evaluate_pieces(watched(), closed=closed, mapped=mapped)
        summaries = ((one.sums, None) for one in found_pseudo)
    elif rate is None and getattr(loaded, "adapt", "off") == "off":
        plain = evaluator(loaded, closed=closed, mapped=mapped)(watched())
        summaries = zip(plain, itertools.repeat(None), strict=False)
    else:  # both take the same pieces before they tell their figures, so few are kept
        one, other = itertools.tee(watched())
        learner = language_model(loaded, _NOT_DYNAMIC)
        plain = evaluator(learner.adapting("off"), closed=closed)(one)
        learning = learner.evaluate_pieces(other, closed=closed, rate=rate)
        summaries = zip(plain, learning, strict=True)
    with meter:
        for found in summaries:
            summary = found[0]
            bits = summary.bits_per_character
            name = "pseudo-bits/char" if isinstance(loaded, ClozeModel) else "bits/char"
            note = "" if bits is None else f"{bits:.3f} {name}"
            meter.update(summary.characters - before, end, note)
            before = summary.characters
    return found
