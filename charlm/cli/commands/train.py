"""charlm train."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from charlm.cli import options
from charlm.cli.input.option_rules import Apart, Needs, OneOf, Rules
from charlm.cli.options import MODEL_OPTIONS, TRAINING_OPTIONS, one_of
from charlm.cli.output.terminal import say
from charlm.cli.resuming import existing
from charlm.cli.training import train
from charlm.config import CELLS, LEVELS, ON_NAN, POOLINGS, PRECISIONS, RUNS, SPLITS
from charlm.errors import CharlmError, UsageError
from charlm.tokenizers.base import NORMAL_FORMS, SUBWORD_MODELS

_OF_TEXT = "a tagger reads words that are cut already, a token and its tag on a line"
RULES: Rules = (
    OneOf("CORPUS", "--demo"),
    OneOf("--classifier", "--tagger"),
    OneOf("--time", "--epochs", "--steps"),
    OneOf("--valid", "--valid-share"),
    Needs("--classifier", ("--label-from", "--resume")),
    Needs("--pooling", ("--classifier", "--resume")),
    Needs(("--text-column", "--header"), ("--label-from column:*", "--resume")),
    Needs("--text-field", ("--label-from field:*", "--resume")),
    Needs(("--token-column", "--tag-column"), ("--tagger", "--resume")),
    Needs("--lowercase", ("--level word", "--resume")),
    Needs("--pretokenized", ("--level word", "--resume")),
    Needs("--subword-model", ("--level subword", "--resume")),
    Apart("--min-count", "--level subword", "subwords are all kept"),
    Apart(
        ("--classifier", "--tagger"),
        (*options.NOT_OF_HEADS.values(), "--no-index"),
        "that is of language models",
    ),
    Apart(
        "--tagger",
        (
            *("--label-from", "--text-column", "--text-field", "--header", "--split-on"),
            *("--distinct", "--lowercase", "--pretokenized", "--subword-model", "--pooling"),
            *("--level char", "--level subword"),
        ),
        _OF_TEXT,
    ),
    Apart(
        "--bidirectional",
        ("--ngram", "--cache", "--label-from"),
        "a bidirectional model reads both sides, and has no probability of a text",
    ),
    Apart(
        "--split-on",
        ("--label-from column:*", "--label-from field:*"),
        "each line is a sequence there",
    ),
    Apart("--patience", "--valid-share 0.0", "there is nothing to validate on"),
)


DEMOS = ("prose", "dinosaurs")


def train_cli(
    corpus: Annotated[
        list[str] | None,
        typer.Argument(
            help="Text files, directories of them, .gz files, or - for standard input.",
            show_default=False,
        ),
    ] = None,
    demo: Annotated[
        str | None,
        typer.Option(
            "--demo",
            metavar="[TEXT]",
            help="Train on a bundled text: prose, which --demo alone means, or dinosaurs.",
            callback=one_of("--demo", *DEMOS),
        ),
    ] = None,
    classifier: Annotated[
        bool, typer.Option("--classifier", help="Learn to tell the labels of texts apart.")
    ] = False,
    tagger: Annotated[
        bool, typer.Option("--tagger", help="Learn the tags of tokens, a token and its tag a line.")
    ] = False,
    pooling: Annotated[
        str | None,
        typer.Option(
            help="What a classifier makes of all positions: mean-max, or the last of each "
            "direction.  [default: mean-max]",
            callback=one_of("--pooling", *POOLINGS),
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the run, a directory in that of runs.")
    ] = None,
    root: options.Runs = RUNS,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that exists.")] = False,
    level: Annotated[
        str | None,
        typer.Option(
            help="What a token is: char, word or subword.  [default: char]",
            callback=one_of("--level", *LEVELS),
        ),
    ] = None,
    split_on: Annotated[
        str | None,
        typer.Option(
            help="What a sequence is: auto, line, paragraph or file.  [default: auto]",
            callback=one_of("--split-on", "auto", *SPLITS),
        ),
    ] = None,
    label_from: Annotated[
        str | None,
        typer.Option(
            help="Give each sequence a label: the name of its file (file) or folder (directory), a "
            "column between tabs (column:2, column:kind), or a field of JSON Lines (field:kind)."
        ),
    ] = None,
    text_column: options.TextColumn = None,
    text_field: options.TextField = None,
    header: options.Header = False,
    token_column: options.TokenColumn = None,
    tag_column: options.TagColumn = None,
    distinct: Annotated[
        bool,
        typer.Option("--distinct", help="Train on each sequence once, however often it occurs."),
    ] = False,
    valid: Annotated[
        list[str] | None,
        typer.Option(help="A file to validate on; may be repeated.  [default: hold out 10 %]"),
    ] = None,
    valid_share: Annotated[
        float | None, typer.Option(help="The share to hold out.  [default: 0.1]")
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option("--time", help="Train for so long at most: 90s, 10m, 1h.  [default: 3m]"),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help="Train for so many passes over the text.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Train for so many steps.")] = None,
    cell: Annotated[
        str | None,
        typer.Option(
            help="lstm, lstm-peephole, gru, gru-reset-before, gru-minimal, rnn-tanh or rnn-relu."
            "  [default: lstm]",
            callback=one_of("--cell", *CELLS),
        ),
    ] = None,
    layers: Annotated[int | None, typer.Option(help="Recurrent layers.  [default: 1]")] = None,
    hidden: Annotated[
        int | None, typer.Option(help="Units a layer.  [default: by text and time]")
    ] = None,
    embedding: Annotated[
        int | None, typer.Option(help="Size of the embedding.  [default: by level]")
    ] = None,
    output_layers: Annotated[
        int | None,
        typer.Option(
            help="Layers of a network between recurrence and softmax.  [default: 0, or 1 with "
            "--bidirectional]"
        ),
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Between layers and on the output.  [default: by text]")
    ] = None,
    input_dropout: Annotated[
        float | None, typer.Option(help="On what the first layer reads.  [default: by text]")
    ] = None,
    tie_weights: Annotated[
        bool | None,
        typer.Option(
            "--tie-weights/--untie-weights",
            help="Embedding and softmax share a matrix.  [default: not at char level]",
        ),
    ] = None,
    bidirectional: Annotated[
        bool | None,
        typer.Option(
            "--bidirectional",
            help="Read both sides of each token: for charlm fill, not for charlm sample.",
        ),
    ] = None,
    vocab_size: Annotated[
        int | None, typer.Option(help="The most types to keep.  [default: by level]")
    ] = None,
    min_count: Annotated[
        int | None,
        typer.Option(help="Rarer types become <UNK> (char, word level).  [default: 2]"),
    ] = None,
    lowercase: Annotated[
        bool, typer.Option("--lowercase", help="Words in lower case (word level).")
    ] = False,
    pretokenized: Annotated[
        bool,
        typer.Option("--pretokenized", help="The text is cut already: words stand between spaces."),
    ] = False,
    subword_model: Annotated[
        str | None,
        typer.Option(
            help="unigram or bpe (subword level).  [default: unigram]",
            callback=one_of("--subword-model", *SUBWORD_MODELS),
        ),
    ] = None,
    ngram: Annotated[
        int | None,
        typer.Option(help="Also count n-grams, of up to so many tokens (1-7), and mix the two."),
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache", help="Mix in a cache of what a sequence has said before.")
    ] = False,
    normalize: Annotated[
        str | None,
        typer.Option(
            help="Read all text as NFC, NFD, NFKC or NFKD.  [default: as it is]",
            callback=one_of("--normalize", *NORMAL_FORMS),
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Sequences of bptt length a step.  [default: by text]")
    ] = None,
    bptt_length: Annotated[
        int | None, typer.Option(help="Steps that a gradient goes back.  [default: by level]")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="The highest rate of the schedule.  [default: 0.004]")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of the matrices.")] = None,
    max_grad_norm: Annotated[
        float | None, typer.Option(help="Clip gradients to this norm.  [default: 1]")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop after so many validations without a new best.  [default: never]"),
    ] = None,
    on_nan: Annotated[
        str | None,
        typer.Option(
            "--on-nan",
            help="A gradient that is not finite: skip the step, rollback to the best weights at "
            "half the learning rate, or stop.  [default: skip]",
            callback=one_of("--on-nan", *ON_NAN),
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="auto, fp32 or bf16 products.  [default: auto]",
            callback=one_of("--precision", "auto", *PRECISIONS),
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="auto, cpu, cuda or mps.  [default: auto]",
            callback=one_of("--device", "auto", "cpu", "cuda", "mps"),
        ),
    ] = None,
    no_index: Annotated[
        bool,
        typer.Option("--no-index", help="Keep no copy of the text for charlm novelty in the run."),
    ] = False,
    encoding: Annotated[str | None, typer.Option(help="Of the text.  [default: utf-8]")] = None,
    errors: Annotated[
        str | None,
        typer.Option(
            help="What to do with bytes that are no text: strict or replace.",
            callback=one_of("--errors", "strict", "replace"),
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of everything that is drawn.  [default: 0]")
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only the last line and errors.")
    ] = False,
) -> None:
    """Train a model on text.

    \b
    charlm train corpus.txt
    charlm train poems/ --level word --time 10m --name poems
    zcat news.gz | charlm train - --level subword --epochs 3
    charlm train corpus.txt --ngram 7 --cache --name counted
    charlm train names/ --label-from file
    charlm train --demo
    charlm train corpus.txt --bidirectional --name gaps
    charlm train --resume --name poems --time 10m
    charlm train names/ --classifier --label-from file
    charlm train reviews/ --classifier --label-from directory
    charlm train treebank.conllu --tagger --tag-column xpos
    charlm train entities.conll --tagger
    """
    arguments = dict(locals())
    budget = seconds(time_budget) if time_budget is not None else None
    model = _given(arguments, MODEL_OPTIONS)
    training = _given(arguments, TRAINING_OPTIONS)
    texts = _corpus(corpus, demo, resume)
    fields: dict[str, Any] = {
        "corpus": texts,
        "valid": tuple(valid or ()),
        "level": level,
        "split_on": "line" if demo is not None and split_on is None else split_on,
        "label_from": label_from,
        "text_column": text_column,
        "text_field": text_field,
        "header": header or None,
        "token_column": token_column,
        "tag_column": tag_column,
        "distinct": distinct or None,
        "valid_share": valid_share,
        "encoding": encoding,
        "errors": errors,
        "vocab_size": vocab_size,
        "min_count": min_count,
        "lowercase": lowercase or None,
        "pretokenized": pretokenized or None,
        "subword_model": subword_model,
        "ngram": ngram,
        "cache": cache or None,
        "normalize": normalize,
        "seed": seed,
        "precision": precision,
        "device": device,
    }
    asked = {key: value for key, value in fields.items() if value is not None}
    for key in ("split_on", "precision", "device"):
        if asked.get(key) == "auto":
            del asked[key]
    heads = [
        kind for kind, is_wanted in _heads(classifier, tagger, resume, name, root) if is_wanted
    ]
    if heads:
        if no_index:
            raise UsageError(f"a {heads[0]} has no index of its text: leave out --no-index.")
        from charlm.cli.head_training import train_head

        train_head(
            heads[0],
            asked,
            model,
            training,
            budget=(budget, epochs, steps),
            root=root,
            name=name,
            resume=resume,
            say=(lambda _: None) if quiet else say,
            quiet=quiet,
        )
        return
    if pooling is not None:
        raise UsageError("--pooling is of a classifier, and this run is none: leave it out.")
    train(
        asked,
        model,
        training,
        budget=(budget, epochs, steps),
        root=root,
        name=name,
        resume=resume,
        index=not no_index,
        say=(lambda _: None) if quiet else say,
        quiet=quiet,
    )


def _heads(
    classifier: bool, tagger: bool, resume: bool, name: str | None, root: Path
) -> Iterator[tuple[str, bool]]:
    """Whether each kind of head is asked for, or is what a run to go on with is."""
    kind = ""
    if resume and not (classifier or tagger):
        from charlm.checkpoints.directory import kind_of

        kind = kind_of(existing(name, root))
    yield "classifier", classifier or kind == "classifier"
    yield "tagger", tagger or kind == "tagger"


def seconds(text: str) -> float:
    """The seconds of 90, 90s, 10m or 1.5h. Raises UsageError."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        value = float(number) * unit
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise UsageError(f"--time is a length such as 90s, 10m or 1h, got {text!r}.")
    return value


def _given(arguments: dict[str, Any], options: dict[str, str]) -> dict[str, Any]:
    """The config fields that were named on the command line."""
    return {
        field: arguments[option]
        for option, field in options.items()
        if arguments[option] is not None
    }


def _corpus(corpus: list[str] | None, demo: str | None, resume: bool) -> tuple[str, ...]:
    if demo is not None:
        return (str(bundled(f"{demo}.txt")),)
    if not corpus and not resume:
        raise UsageError(
            "name a text file to train on (charlm train corpus.txt), or try the bundled one: "
            "charlm train --demo"
        )
    return tuple(corpus or ())


def bundled(name: str) -> Path:
    """A text that comes with charlm: inside the package, or beside it in a checkout."""
    import charlm

    package = Path(charlm.__file__).parent
    for folder in (package / "data", package.parent / "data"):
        if (folder / name).is_file():
            return folder / name
    raise CharlmError(f"this installation lacks the bundled text {name}.")
