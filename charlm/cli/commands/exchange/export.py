"""charlm export."""

from pathlib import Path
from typing import TYPE_CHECKING

from charlm.cli import options
from charlm.cli.input.declared import option
from charlm.cli.input.option_rules import OneOf, Rules
from charlm.cli.output.terminal import out_bytes, say
from charlm.errors import UsageError

if TYPE_CHECKING:
    from charlm.models.load import AnyModel

RULES: Rules = (OneOf("NAME", "--model"), OneOf("--arpa", "--onnx", "--hf"))


def export_cli(
    *,
    name: str | None = options.RUN,
    asked: options.Model,
    arpa: Path | None = option(
        "Write the n-grams to this file, packed if it ends in .gz; - is standard output.",
        heading=options.OUTPUT,
    ),
    onnx: Path | None = option(
        "Write the network to this new directory, as graphs of ONNX.",
        metavar="DIR",
        heading=options.OUTPUT,
    ),
    hf: Path | None = option(
        "Write the model to this new directory, in the layout of the Hugging Face hub.",
        metavar="DIR",
        heading=options.OUTPUT,
    ),
) -> None:
    """Write a model in a form that other programs read.

    --arpa writes the n-grams that are counted beside a network, or alone, for KenLM, SRILM and
    what reads their files. --onnx writes the network as graphs of ONNX, compared with charlm's own
    equations first, with what turns text into ids and the lines that run it. --hf writes all of the
    model, with a card, to be shared; charlm reads it by the path of the directory.

    \b
    charlm export counts --arpa counts.arpa.gz
    charlm export poems --onnx poems-onnx
    charlm export poems --hf poems-hf
    """
    if arpa is None and onnx is None and hf is None:
        raise UsageError("say what to write: --arpa FILE, --onnx DIR or --hf DIR.")
    from charlm.cli.input.model import say_newest
    from charlm.models.load import load

    model = load(asked.model if name is None else name, root=asked.root)
    if name is None and asked.model is None:
        say_newest(model.checkpoint)
    if arpa is not None:
        _arpa(model, arpa)
    if onnx is not None:
        from charlm.exchange.graphs.export import export_onnx

        deviation = export_onnx(model, onnx)
        say(f"{onnx}: at most {deviation:.0e} nats off the equations; README.md says how to run it")
    if hf is not None:
        from charlm.exchange.hub.export import export_hub

        said = export_hub(model, hf)
        say(f"{hf}: {said}; README.md is the card, fill in what it leaves open")


def _arpa(model: "AnyModel", path: Path) -> None:
    """Write the n-grams of a model."""
    from charlm.exchange.arpa_runs import counts_of, lines_of
    from charlm.exchange.files import joined, write_lines
    from charlm.models.language_model import LanguageModel
    from charlm.models.translator import Translator

    if not isinstance(model, LanguageModel | Translator):
        raise UsageError("this model has no n-grams: those of language models and translators do.")
    counts = counts_of(model)
    if str(path) == "-":
        out_bytes(joined(lines_of(model)))
    else:
        write_lines(path, lines_of(model))
    said = f"{counts.num_ngrams:,} n-grams of up to {counts.order} tokens"
    say(said if str(path) == "-" else f"{path}: {said}")
    if isinstance(model, LanguageModel) and model.partner is not None and model.partner.cache:
        say("the cache is not in it: the format has no place for one")
