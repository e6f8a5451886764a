"""charlm sample."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlm.cli import options
from charlm.cli.input.beginning import read_beginning
from charlm.cli.input.model import load_models
from charlm.cli.input.option_rules import Apart, OneOf, Rules
from charlm.cli.output import novelty_report
from charlm.cli.output.terminal import out, out_json, say, say_lines, say_loading
from charlm.config import RUNS, SamplingConfig, Unknown
from charlm.errors import TextError

if TYPE_CHECKING:
    from charlm.inference.sample import Sample
    from charlm.models.base import TextDistribution

RULES: Rules = (
    *options.MIXING,
    OneOf("--prompt", "--prompt-file"),
    OneOf("--json", "--null"),
    Apart(
        "--stream",
        ("--json", "--novel"),
        "what has been written cannot be taken back, and its figures come last",
    ),
    Apart("--stream", "--batch-size", "a stream is drawn one sequence after another"),
)

_DRAWING = "Drawing"


def sample_cli(
    n: Annotated[
        int, typer.Option("--n", "-n", min=1, help="Number of sequences.", rich_help_panel=_DRAWING)
    ] = 1,
    max_tokens: Annotated[
        int,
        typer.Option(help="Maximum number of tokens per sequence.", rich_help_panel=_DRAWING),
    ] = 1000,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            "--prime",
            help="Text that each sequence begins with; - is standard input.",
            rich_help_panel=_DRAWING,
        ),
    ] = None,
    prompt_file: Annotated[
        Path | None,
        typer.Option(
            help="File that holds the prompt, newlines included.", rich_help_panel=_DRAWING
        ),
    ] = None,
    temperature: Annotated[
        float,
        typer.Option(
            help="Softmax temperature: below 1 more likely tokens, above 1 more varied ones, 0 "
            "always the most likely.",
            rich_help_panel=_DRAWING,
        ),
    ] = 1.0,
    top_k: Annotated[
        int | None,
        typer.Option(
            help="Draw from the k most likely tokens only.  [default: all]",
            rich_help_panel=_DRAWING,
        ),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            help="Draw from the most likely tokens that make up this probability only.  [default: "
            "all]",
            rich_help_panel=_DRAWING,
        ),
    ] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(
            help="End a sequence before this text; may be repeated.", rich_help_panel=_DRAWING
        ),
    ] = None,
    unk: Annotated[
        Unknown,
        typer.Option(
            help="If <UNK> is drawn: draw again, spell a new word, or keep it as U+FFFD.",
            case_sensitive=False,
            rich_help_panel=_DRAWING,
        ),
    ] = "resample",
    novel: Annotated[
        bool,
        typer.Option(
            "--novel",
            help="Draw again what stands in the training text.",
            rich_help_panel=_DRAWING,
        ),
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Random seed.  [default: another each time, printed on stderr]",
            rich_help_panel=_DRAWING,
        ),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(
            min=1, help="Number of sequences drawn in parallel.", rich_help_panel=_DRAWING
        ),
    ] = 256,
    model: options.Models = None,
    root: options.Runs = RUNS,
    weights: options.Weights = None,
    tune: options.Tune = None,
    alone: options.Alone = False,
    label: options.Label = None,
    report: Annotated[
        bool,
        typer.Option(
            "--report",
            help="Print on stderr how much is new and how much is copied.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream", help="Print tokens as they are drawn.", rich_help_panel=options.OUTPUT
        ),
    ] = False,
    json: options.Json = False,
    null: Annotated[
        bool,
        typer.Option(
            "--null",
            "-0",
            help="End each sequence with a NUL, for novelty -0 and score -0.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
) -> None:
    """Draw new sequences from a model.

    \b
    charlm sample --n 200
    charlm sample --prompt "Once upon a time" --temperature 0.7
    charlm sample --n 10 --novel --json
    charlm sample --n 200 --report
    charlm sample --n 200 -0 | charlm novelty -0 -
    charlm sample --stream --max-tokens 2000
    charlm sample --model poems --unk spell
    charlm sample --model names --label Russian --n 20
    """
    from charlm.inference.sample import fresh_seed
    from charlm.inference.stream import fragments

    text = read_beginning(prompt, prompt_file, ways="--prompt or --prompt-file")
    loaded = load_models(model, root, weights, tune, alone=alone, label=label)
    config = SamplingConfig(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        max_tokens=max_tokens,
        stop=tuple(stop or ()),
        unknown=unk,
        seed=fresh_seed() if seed is None else seed,
    )
    if not loaded.is_small(loaded.most_tokens(n, config), text):
        say_loading()
    if report:
        _ = loaded.index  # if there is none, that is said before anything is drawn
    end = "\0" if null else separator(loaded)
    sampler = loaded.sampler(n, config, text)
    if seed is None:
        say(f"seed: {config.seed}; --seed {config.seed} gives the same text")
    if stream:
        texts = []
        for fragment in fragments(sampler, n, config, prompt=text):
            drawn = fragment.sample
            out(
                fragment.text + ("" if drawn is None else ended(drawn.text, end)[len(drawn.text) :])
            )
            texts += [] if drawn is None else [drawn.text]
            sys.stdout.flush()
    else:
        texts = []
        for drawn in sampler.sample(n, config, prompt=text, novel=novel, batch_size=batch_size):
            if json:
                out_json({**fields(drawn, model), **label_field(drawn, loaded)})
            else:
                out(ended(drawn.text, end))
            if report:
                texts.append(drawn.text)
        sys.stdout.flush()
    if report:
        say_lines("\n".join(novelty_report.report(loaded.novelty(texts, prompt=text))))


def separator(loaded: "TextDistribution") -> str:
    """What stands between sequences: a blank line where one can hold several lines."""
    return "\n" if loaded.checkpoint.split_on == "line" else "\n\n"


def ended(text: str, end: str) -> str:
    """A sample with what is to end it. Raises TextError if a NUL is to, and it holds one."""
    if end == "\0" and "\0" in text:
        raise TextError(
            "a sample holds a NUL itself, so -0 cannot tell where it ends: take --json, which can."
        )
    return text + end


def label_field(drawn: "Sample", loaded: "TextDistribution") -> dict[str, str]:
    """The label that a sample was drawn with, where there are labels."""
    from charlm.models.language_model import LanguageModel

    if not isinstance(loaded, LanguageModel) or loaded.labels is None:
        return {}
    if loaded.label is None:
        assert drawn.drawn_by is not None
        return {"label": loaded.labels.names[drawn.drawn_by]}
    return {"label": loaded.label}


def fields(drawn: "Sample", models: list[str] | None = None) -> dict[str, object]:
    """A sample as JSON; of models that take turns, also which of them drew it."""
    several = drawn.drawn_by is not None and models is not None and len(models) > 1
    turn = {"model": models[drawn.drawn_by]} if several else {}  # type: ignore[index]
    return {
        "text": drawn.text,
        "total_log_prob_nats": drawn.total_log_prob,
        "tokens": drawn.num_tokens,
        "unknown_tokens": drawn.num_unknown,
        "ended": drawn.ended,
        "in_training_text": drawn.in_training_text,
        "seed": drawn.seed,
        **turn,
    }
