"""charlm sample."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from charlm.cli import options
from charlm.cli.input.beginning import read_beginning
from charlm.cli.input.declared import Options, option
from charlm.cli.input.model import load_models, named_translator, translator
from charlm.cli.input.option_rules import Apart, Needs, OneOf, Rules
from charlm.cli.input.pairs import Unseen, only_of_texts, source_of
from charlm.cli.output.reports import novelty
from charlm.cli.output.samples import ended, fields, figures, separator
from charlm.cli.output.terminal import out, out_json, say, say_lines, say_loading
from charlm.config import SamplingConfig, Unknown
from charlm.errors import UsageError
from charlm.fields.pairs import named

if TYPE_CHECKING:
    from collections.abc import Callable

    from charlm.inference.alternate import TurnSampler
    from charlm.inference.sample import Sample, Sampler

RULES: Rules = (
    *options.MIXING,
    Needs("--features", "--source"),
    OneOf("--prompt", "--prompt-file"),
    OneOf("--json", "--null"),
    Apart(
        "--stream",
        ("--json", "--novel"),
        "what has been written cannot be taken back, and its figures come last",
    ),
    Apart("--stream", "--batch-size", "a stream is drawn one sequence after another"),
)


class Drawing(Options, heading="Drawing"):
    """What is drawn, and how."""

    n: int = option("Number of sequences.", 1, "--n", "-n", least=1)
    max_tokens: int = option("Maximum number of tokens per sequence.", 1000)
    prompt: str | None = option(
        "Text that each sequence begins with; - is standard input.", None, "--prompt", "--prime"
    )
    prompt_file: Path | None = option("File that holds the prompt, newlines included.")
    temperature: float = option(
        "Softmax temperature: below 1 more likely tokens, above 1 more varied ones, 0 always the "
        "most likely.",
        1.0,
    )
    top_k: int | None = option("Draw from the k most likely tokens only.  [default: all]")
    top_p: float | None = option(
        "Draw from the most likely tokens that make up this probability only.  [default: all]"
    )
    stop: list[str] | None = option("End a sequence before this text; may be repeated.")
    unk: Unknown = option(
        "If <UNK> is drawn: draw again, spell a new word, or keep it as U+FFFD.", "resample"
    )
    novel: bool = option("Draw again what stands in the training text.", False)
    seed: int | None = option("Random seed.  [default: another each time, printed on stderr]")
    batch_size: int = option("Number of sequences drawn in parallel.", 256, least=1)

    def config(self) -> SamplingConfig:
        """The same for a sampler, with a fresh seed where none was given. Raises UsageError."""
        from charlm.models.base import sampling

        return sampling(
            self.temperature,
            self.top_k,
            self.top_p,
            self.max_tokens,
            tuple(self.stop or ()),
            self.unk,
            self.seed,
        )


class Printed(Options, heading=options.OUTPUT):
    """The form of what is drawn."""

    report: bool = option("Print on stderr how much is new and how much is copied.", False)
    stream: bool = option("Print tokens as they are drawn.", False)
    json: bool = options.JSON
    null: bool = option(
        "End each sequence with a NUL, for novelty -0 and score -0.", False, "--null", "-0"
    )


def sample_cli(
    *,
    drawing: Drawing,
    source: str | None = option("Source whose targets are drawn, of a translator."),
    features: str | None = options.FEATURES,
    models: options.Mixture,
    printed: Printed,
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
    charlm sample --model numbers --source 42 --n 5
    """
    n, ways = drawing.n, "--prompt or --prompt-file"
    prompt = read_beginning(drawing.prompt, drawing.prompt_file, ways=ways)
    if found := named_translator(models, of_pairs=source is not None):
        only_of_texts(
            novel=drawing.novel,
            report=printed.report,
            weights=models.weights,
            tune=models.tune,
            by_character=models.by_character,
            alone=models.alone,
            label=models.label,
            adapt=models.adapt != "off",
        )
        if source is None:
            raise UsageError("a translator draws targets of a source: give it with --source.")
        translates = translator(found)
        config = drawing.config()
        line = source_of(translates, source, features)
        unseen = Unseen(translates)
        unseen.add(line)
        unseen.say()
        sampler = translates.sampler(line, n, config)
        draws = _Draws(
            sampler, "\n", lambda drawn: {**named(translates.parts(line)), **figures(drawn)}
        )
        _draw(draws, drawing, config, prompt, printed)
        return
    loaded = load_models(models)
    config = drawing.config()
    if not loaded.is_small(loaded.most_tokens(n, config), prompt):
        say_loading()
    if printed.report:
        _ = loaded.index  # if there is none, that is said before anything is drawn
    draws = _Draws(
        loaded.sampler(n, config, prompt),
        separator(loaded),
        lambda drawn: fields(drawn, loaded, models.model),
    )
    texts = _draw(draws, drawing, config, prompt, printed)
    if printed.report:
        say_lines("\n".join(novelty.report(loaded.novelty(texts, prompt=prompt))))


class _Draws(NamedTuple):
    """What draws, what stands between sequences, and a sequence as JSON."""

    sampler: "Sampler | TurnSampler"
    separator: str
    fields: "Callable[[Sample], dict[str, object]]"


def _draw(
    draws: _Draws, drawing: Drawing, config: SamplingConfig, prompt: str, printed: Printed
) -> list[str]:
    """Draw and print; the texts, where they are reported on."""
    sampler, n = draws.sampler, drawing.n
    end = "\0" if printed.null else draws.separator
    if drawing.seed is None:
        say(f"seed: {config.seed}; --seed {config.seed} gives the same text")
    texts: list[str] = []
    if printed.stream:
        from charlm.inference.stream import fragments

        for fragment in fragments(sampler, n, config, prompt=prompt):
            drawn = fragment.sample
            closing = "" if drawn is None else ended(drawn.text, end)[len(drawn.text) :]
            out(fragment.text + closing)
            texts += [] if drawn is None else [drawn.text]
            sys.stdout.flush()
        return texts
    for drawn in sampler.sample(
        n, config, prompt=prompt, novel=drawing.novel, batch_size=drawing.batch_size
    ):
        if printed.json:
            out_json(draws.fields(drawn))
        else:
            out(ended(drawn.text, end))
        if printed.report:
            texts.append(drawn.text)
    sys.stdout.flush()
    return texts
