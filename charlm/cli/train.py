"""charlm train."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlm.cli.border import Signals
from charlm.cli.terminal import out, say
from charlm.errors import CharlmError, CheckpointError, UsageError

if TYPE_CHECKING:
    from charlm.config import ModelConfig, TrainingConfig
    from charlm.request import Request, Settled
    from charlm.run import Run
    from charlm.training import TrainingState

_MODEL_OPTIONS = {
    "cell": "cell",
    "layers": "num_layers",
    "hidden": "hidden_size",
    "embedding": "embedding_size",
    "output_layers": "output_layers",
    "dropout": "dropout",
    "tie_weights": "tie_weights",
}
_TRAINING_OPTIONS = {
    "batch_size": "batch_size",
    "bptt_length": "bptt_length",
    "learning_rate": "learning_rate",
    "weight_decay": "weight_decay",
    "max_grad_norm": "max_grad_norm",
    "patience": "patience",
}
_OPTION_OF = {field: name for name, field in (_MODEL_OPTIONS | _TRAINING_OPTIONS).items()}
_READ_AGAIN = ("corpus", "valid", "split_on")  # compared by the text that they give
ROOT = Path("checkpoints")


def train_cli(
    corpus: Annotated[
        list[str] | None,
        typer.Argument(
            help="Text files, directories of them, .gz files, or - for standard input.",
            show_default=False,
        ),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Train on the bundled prose.")] = False,
    name: Annotated[
        str | None, typer.Option(help="Name of the run, a directory below checkpoints/.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that exists.")] = False,
    level: Annotated[
        str | None, typer.Option(help="What a token is: char, word or subword.  [default: char]")
    ] = None,
    split_on: Annotated[
        str | None,
        typer.Option(help="What a sequence is: auto, line, paragraph or file.  [default: auto]"),
    ] = None,
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
            "  [default: lstm]"
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
        typer.Option(help="Layers of a network between recurrence and softmax.  [default: 0]"),
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Between layers and on the output.  [default: by text]")
    ] = None,
    tie_weights: Annotated[
        bool | None,
        typer.Option(
            "--tie-weights/--untie-weights",
            help="Embedding and softmax share a matrix.  [default: not at char level]",
        ),
    ] = None,
    vocab_size: Annotated[
        int | None, typer.Option(help="The most types to keep.  [default: by level]")
    ] = None,
    min_count: Annotated[
        int | None,
        typer.Option(help="Rarer types become <UNK>.  [default: 1 for char, 2 for word]"),
    ] = None,
    lowercase: Annotated[
        bool, typer.Option("--lowercase", help="Words in lower case (word level).")
    ] = False,
    subword_model: Annotated[
        str | None, typer.Option(help="unigram or bpe (subword level).  [default: unigram]")
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
    precision: Annotated[
        str | None, typer.Option(help="auto, fp32 or bf16 products.  [default: auto]")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or mps.  [default: auto]")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Of the text.  [default: utf-8]")] = None,
    errors: Annotated[
        str | None,
        typer.Option(help="What to do with bytes that are no text: strict or replace."),
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
    charlm train --demo
    charlm train --resume --name poems --time 10m
    """
    arguments = dict(locals())
    budget = seconds(time_budget) if time_budget is not None else None
    model = _given(arguments, _MODEL_OPTIONS)
    training = _given(arguments, _TRAINING_OPTIONS)
    texts = _corpus(corpus, demo, resume)
    fields: dict[str, Any] = {
        "corpus": texts,
        "valid": tuple(valid or ()),
        "level": level,
        "split_on": "line" if demo and split_on is None else split_on,
        "valid_share": valid_share,
        "encoding": encoding,
        "errors": errors,
        "vocab_size": vocab_size,
        "min_count": min_count,
        "lowercase": lowercase or None,
        "subword_model": subword_model,
        "seed": seed,
        "precision": precision,
        "device": device,
    }
    asked = {key: value for key, value in fields.items() if value is not None}
    for key in ("split_on", "precision", "device"):
        if asked.get(key) == "auto":
            del asked[key]
    train(
        asked,
        model,
        training,
        budget=(budget, epochs, steps),
        name=name,
        resume=resume,
        say=(lambda _: None) if quiet else say,
        quiet=quiet,
    )


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


def train(
    asked: dict[str, Any],
    model: dict[str, Any],
    training: dict[str, Any],
    *,
    budget: tuple[float | None, float | None, int | None] = (None, None, None),
    name: str | None = None,
    resume: bool = False,
    say: Callable[[str], None] = say,
    quiet: bool = False,
) -> None:
    """Train, showing progress, until the budget is spent or a signal comes."""
    say("charlm: starting")  # something to look at while torch is being imported
    with Signals() as signals:
        from charlm.checkpoint import check_name
        from charlm.request import Request, settle
        from charlm.run import Run
        from charlm.training import new_state

        signals.check()  # an import may swallow what a signal raises in it
        if resume:
            with Run(_existing(name)) as run:
                settled, state = _continued(run, asked, model, training, budget, say)
                signals.patient = True
                _fit(run, settled, state, signals, say, quiet)
            return
        seconds, epochs, steps = budget
        request = Request(
            **{**asked, "device": _device(asked.get("device"))},
            model=model,
            training=training,
            seconds=seconds,
            epochs=epochs,
            steps=steps,
        )
        if name is not None:
            Run(ROOT / check_name(name)).check_new()
        settled = settle(request, say)
        state = new_state(settled.model, settled.training, request.device)
        signals.patient = True  # from here on there is something to save, after a step at least
        path = ROOT / name if name is not None else _free(request.corpus)
        with Run(path) as run:
            run.begin(
                {
                    "request": request.to_json(),
                    "model": settled.model.to_json(),
                    "training": settled.training.to_json(),
                    "fingerprint": settled.material.about["fingerprint"],
                }
            )
            _fit(run, settled, state, signals, say, quiet)


def _fit(
    run: "Run",
    settled: "Settled",
    state: "TrainingState",
    signals: Signals,
    say: Callable[[str], None],
    quiet: bool,
) -> None:
    """Train to the end or to a signal, and say what came of it."""
    from charlm.cli.progress import show
    from charlm.model import num_parameters
    from charlm.run import fit

    say(f"run: {run.path}, {num_parameters(state.model):,} parameters; Ctrl-C saves and stops")
    events = fit(
        run,
        state,
        settled.training,
        settled.material,
        should_stop=lambda: signals.received is not None,
    )
    show(events, state, settled, quiet=quiet)
    signals.patient = False
    if signals.received is not None:
        say(
            f"stopped at step {state.step:,} of {settled.training.num_steps:,}, saved. "
            f"Go on with: charlm train --resume --name {run.path.name}"
        )
        raise SystemExit(128 + signals.received)
    _report(run.path, settled, say)


def _report(path: Path, settled: "Settled", say: Callable[[str], None]) -> None:
    """Name the next commands, and end with the validation loss of the best step, exactly."""
    from charlm import checkpoint, metrics
    from charlm.evaluation import token_log_probs
    from charlm.model import from_arrays

    best = checkpoint.load(checkpoint.best_step(path))
    name = f" --model {path.name}"
    say(f'next: charlm sample{name} --n 20   or   charlm score{name} "a sentence"')
    valid = settled.material.valid
    if valid is None:
        out("best validation loss: none, no text was held out\n")
        return
    nats = -float(token_log_probs(from_arrays(best.config, best.weights), valid)[0].sum())
    bits = metrics.bits_per(-nats, settled.material.about["valid"]["characters"])
    out(
        f"best validation loss: {nats / valid.num_tokens:.4f} nats per token, "
        f"{bits:.4f} bits per character (step {best.step})\n"
    )


def _existing(name: str | None) -> Path:
    """The run to go on with: the one named, or the one last written to."""
    from charlm import checkpoint

    there = checkpoint.runs(ROOT)
    if name is not None:
        path = ROOT / checkpoint.check_name(name)
        if path not in there:
            names = ", ".join(run.name for run in there) or "none"
            raise CheckpointError(f"there is no run {path} to go on with. Those there: {names}.")
        return path
    if not there:
        raise CheckpointError(f"there is no run below {ROOT}/ to go on with.")
    return there[0]


def _continued(
    run: "Run",
    asked: dict[str, Any],
    model: dict[str, Any],
    training: dict[str, Any],
    budget: tuple[float | None, float | None, int | None],
    say: Callable[[str], None],
) -> tuple["Settled", "TrainingState"]:
    """The texts read again, compared with those of the run, and its state put back.

    Raises UsageError saying what differs if something is asked that the run was not begun with.
    """
    import dataclasses

    from charlm import checkpoint
    from charlm.config import ModelConfig, TrainingConfig
    from charlm.request import Request, Settled, fix_steps, material_of, read_texts

    began = run.asked()
    request = Request.from_json(began.get("request"))
    model_config = ModelConfig.from_json(began.get("model"))
    config = TrainingConfig.from_json(began.get("training"))
    _refuse_changes(request, model_config, config, asked, model, training)
    again = {key: asked[key] for key in _READ_AGAIN if asked.get(key)}
    device = _device(asked.get("device", request.device))
    request = dataclasses.replace(request, **again, device=device)
    texts = read_texts(request, say)
    if texts.fingerprint != began.get("fingerprint"):
        raise UsageError(
            f"the text of {', '.join((*request.corpus, *request.valid))} is not the one that "
            f"{run.path} was begun with. Give the same text, or begin a new run."
        )
    state = run.restore(model_config, config, request.device)
    tokenizer = checkpoint.load(run.path / checkpoint.step_name(state.step)).tokenizer
    material = material_of(texts, tokenizer)
    seconds, epochs, steps = budget
    if budget != (None, None, None):
        request = dataclasses.replace(request, seconds=seconds, epochs=epochs, steps=steps)
        request = dataclasses.replace(request, precision=config.precision)
        config = fix_steps(request, model_config, config, material, say, done=state.step)
        run.extend(config)
    if state.step >= config.num_steps:
        raise UsageError(
            f"{run.path} is finished: {state.step:,} steps. To train it further give a larger "
            "budget with --steps, --epochs or --time."
        )
    say(f"going on from step {state.step:,} of {config.num_steps:,}")
    return Settled(material, model_config, config), state


def _refuse_changes(
    request: "Request",
    model_config: "ModelConfig",
    config: "TrainingConfig",
    asked: dict[str, Any],
    model: dict[str, Any],
    training: dict[str, Any],
) -> None:
    """Raise UsageError if an option is given that the run was begun without or with another."""
    began = {**request.to_json(), "precision": config.precision}
    pairs = [(name, began[name], value) for name, value in asked.items() if name not in _READ_AGAIN]
    pairs += [(_OPTION_OF[name], model_config.to_json()[name], model[name]) for name in model]
    pairs += [(_OPTION_OF[name], config.to_json()[name], training[name]) for name in training]
    changes = [
        f"--{name.replace('_', '-')} is {'not given' if before is None else before} there, "
        f"{value} here"
        for name, before, value in pairs
        if before != value and name != "device"
    ]
    if changes:
        raise UsageError(f"--resume goes on as the run was begun: {'; '.join(changes)}.")


def _given(arguments: dict[str, Any], options: dict[str, str]) -> dict[str, Any]:
    """The config fields that were named on the command line."""
    return {
        field: arguments[option]
        for option, field in options.items()
        if arguments[option] is not None
    }


def _corpus(corpus: list[str] | None, demo: bool, resume: bool) -> tuple[str, ...]:
    if demo:
        if corpus:
            raise UsageError("give a corpus or --demo, not both.")
        return (str(bundled("prose.txt")),)
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


def _free(corpus: Iterable[str]) -> Path:
    """A name that no run has yet, after the first file of the corpus."""
    first = next(iter(corpus))
    stem = "stdin" if first == "-" else Path(first).name.split(".")[0]
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in stem)
    stem = stem.strip("-_")[:80] or "run"
    stem = f"run-{stem}" if stem.startswith("step-") else stem  # that is how steps are named
    path, number = ROOT / stem, 2
    while path.exists():
        path, number = ROOT / f"{stem}-{number}", number + 1
    return path


def _device(wanted: str | None) -> str:
    """cpu, cuda or mps; auto takes a GPU where there is one. Raises UsageError."""
    import torch

    there: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
    if wanted in (None, "auto"):
        return "cuda" if there["cuda"]() else "cpu"
    if wanted not in there:
        raise UsageError(f"device must be auto, cpu, cuda or mps, got {wanted!r}.")
    if not there[wanted]():
        raise UsageError(f"there is no {wanted} device here; --device cpu always works.")
    return wanted
