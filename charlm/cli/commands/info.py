"""charlm info."""

import math
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from charlm.cli import options
from charlm.cli.input.declared import option
from charlm.cli.input.option_rules import OneOf, Rules
from charlm.cli.output.terminal import out, out_json
from charlm.display.safe_text import safe_text

if TYPE_CHECKING:
    from charlm.checkpoints.language_model import Checkpoint
    from charlm.counts.interpolation import Partner
    from charlm.inference.labels import Labels
    from charlm.network_config import CountsConfig, LanguageConfig

RULES: Rules = (OneOf("NAME", "--model"), OneOf("--json", "--card"))
_LABELS = 100  # of a classifier or tagger that are named
_WIDTH = 66  # columns beside the names of the rows


def info_cli(
    *,
    name: str | None = options.RUN,
    asked: options.Model,
    json: bool = options.JSON_OBJECT,
    card: bool = option("Print a card for people who get the model, in Markdown.", False),
) -> None:
    """Describe a model and how it was trained.

    \b
    charlm info poems
    charlm info poems --card
    """
    model, root = asked.model if name is None else name, asked.root
    from charlm.checkpoints import directory
    from charlm.checkpoints.language_model import Checkpoint

    if card:
        from charlm.exchange.hub.card import card as written
        from charlm.models.load import load

        out(written(load(model, root=root)))
        return
    kind = directory.kind_of(path := directory.find_any(model, root))
    if kind != directory.LANGUAGE_MODEL:
        (_show_translator if kind == "translator" else _show_head)(path, json=json)
        return
    loaded = Checkpoint.find(model if model is not None else path.parent.name, root)
    _show_language_model(loaded, json=json)


def _show_language_model(loaded: "Checkpoint", *, json: bool) -> None:
    """What is known of a language model, or a cloze model."""
    from charlm.checkpoints import about
    from charlm.network_config import ClozeConfig, CountsConfig
    from charlm.novelty import text_index

    config, info = loaded.config, about.figures(loaded.info)
    parameters = loaded.num_parameters
    labels = loaded.labels
    if json:
        more = {} if labels is None else {"labels": labels.to_json()}
        partner = None if loaded.partner is None else loaded.partner.to_json()
        out_json(
            {
                "path": str(loaded.path),
                "parameters": parameters,
                "partner": partner,
                **({} if loaded.adaptive is None else {"adaptive": loaded.adaptive.to_json()}),
                "ignores": list(loaded.tokenizer.ignores),
                **more,
                **info,
            }
        )
        return
    form = getattr(loaded.tokenizer, "form", None)
    rows: dict[str, object] = {
        "path": loaded.path,
        "step": f"{loaded.step:,}",
        "level": f"{loaded.tokenizer.level}, {config.vocab_size:,} types"
        f"{f', of text read as {form}' if form else ''}",
        "sequences": f"one per {loaded.split_on}",
        "model": _shape(config),
    }
    if not isinstance(config, CountsConfig):
        rows["parameters"] = f"{parameters:,}"
    if loaded.tokenizer.ignores:
        rows["ignores"] = ", ".join(loaded.tokenizer.ignores)
    is_cloze = isinstance(config, ClozeConfig)
    if is_cloze:
        rows["reads"] = "both sides of each token (--bidirectional): for charlm fill"
    if loaded.partner is not None:
        rows["partner"] = f"{_partner(loaded.partner)}; not with --alone"
    if loaded.adaptive is not None:
        kept, kinds = len(loaded.adaptive.remembered), len(loaded.adaptive.contexts)
        rows["adaptive"] = f"{kinds} contexts in {kept:,} tokens; with --adapt"
    best = info.get("best_loss_nats_per_token")
    if about.nothing_is_held_out(info):
        rows["validation"] = "none, nothing was held out"
    elif isinstance(best, float):
        given = ", given all others" if is_cloze else ""
        symbol = ", <UNK> as one symbol" if about.held_out(info, "unknown_nats") else ""
        rows["validation"] = f"{best:.4f} nats per token{given}{symbol}"
    if text_index.stands(loaded.path.parent):
        rows["index"] = "novelty.safetensors, which holds the training text"
    _show_rows(rows)
    if labels is not None:
        for line in _labels(labels):
            out(f"{line}\n")


def _shape(config: "LanguageConfig | CountsConfig") -> str:
    """What a model is made of, in words."""
    from charlm.network_config import CountsConfig

    if isinstance(config, CountsConfig):
        return f"{config.num_ngrams:,} n-grams of up to {config.order} tokens, no network"
    return (
        f"{config.num_layers} x {config.hidden_size} {config.cell}, embedding "
        f"{config.embedding_size}, {config.output_layers} output layers, dropout "
        f"{config.dropout:g}{', tied weights' if config.tie_weights else ''}"
    )


def _show_head(path: Path, *, json: bool) -> None:
    """Describe the head of a step directory."""
    from charlm.checkpoints import about
    from charlm.checkpoints.head import HeadCheckpoint

    loaded = HeadCheckpoint.load(path)
    config, info = loaded.config, about.figures(loaded.info)
    parameters = sum(array.size for array in loaded.weights.values())
    if json:
        out_json({"path": str(loaded.path), "parameters": parameters, **info})
        return
    if loaded.words is not None:
        letters = f"{loaded.words.num_letters:,}"
        reads = f"words and their letters, {config.vocab_size:,} and {letters} types"
    elif loaded.tokenizer is not None:
        reads = f"{loaded.tokenizer.level}, {config.vocab_size:,} types"
    more = len(loaded.labels) - _LABELS
    named = ", ".join(map(safe_text, loaded.labels[:_LABELS]))
    labels = f"{len(loaded.labels):,}: {named}{f' and {more:,} more' if more > 0 else ''}"
    rows = {
        "path": loaded.path,
        "kind": config.kind,
        "step": f"{loaded.step:,}",
        "level": reads,
        "labels": labels,
        "model": f"{config.num_layers} x {config.hidden_size} {config.cell} in each direction, "
        f"embedding {config.embedding_size}, dropout {config.dropout:g}",
        "parameters": f"{parameters:,}",
        "temperature": f"{loaded.temperature:.3f}",
    }
    accuracy, loss = info.get("best_accuracy"), info.get("best_loss_nats_per_label")
    if isinstance(accuracy, float) and isinstance(loss, float):
        f1 = info.get("best_span_f1")
        spans = f"F1 of spans {f1:.4f}, " if isinstance(f1, float) else ""
        rows["validation"] = f"accuracy {accuracy:.4f}, {spans}{loss:.4f} nats per label"
    elif about.nothing_is_held_out(info):
        rows["validation"] = "none, nothing was held out"
    _show_rows(rows)


def _show_rows(rows: Mapping[str, object]) -> None:
    """Names and what they stand for, in 80 columns; a path stays whole."""
    for key, value in rows.items():
        words = str(value)
        wrapped = textwrap.wrap(words, _WIDTH, break_long_words=False, break_on_hyphens=False)
        lines = [words] if isinstance(value, Path) else wrapped
        out(f"{key + ':':<12} {(chr(10) + ' ' * 13).join(lines)}\n")


def _labels(labels: "Labels") -> Iterator[str]:
    """The labels with the share that each has before a text is read, in 80 columns."""
    temperature = labels.temperature
    said = "not calibrated" if temperature is None else f"temperature {temperature:.3f}"
    yield f"{'labels:':<12} {len(labels.names):,}, {said}"
    shares = [
        f"{safe_text(name)}\u00a0{math.exp(value):.1%}"
        for name, value in zip(labels.names, labels.log_prior, strict=True)
    ]
    lines = textwrap.wrap(", ".join(shares), _WIDTH, break_long_words=False, break_on_hyphens=False)
    yield from (" " * 13 + line.replace("\u00a0", " ") for line in lines)


def _partner(partner: "Partner") -> str:
    """What a network is mixed with."""
    what = []
    if partner.ngram is not None:
        number = sum(len(level.keys) for level in partner.ngram.levels)
        what.append(f"{number:,} n-grams (up to {partner.ngram.order})")
    if partner.cache is not None:
        what.append(f"cache ({partner.cache.window:,} tokens)")
    return ", ".join(what)


def _show_translator(path: Path, *, json: bool) -> None:
    """Describe the translator of a step directory."""
    from charlm.checkpoints import about
    from charlm.checkpoints.pairs import PairsCheckpoint
    from charlm.tokenizers.featured import FeaturedTokenizer

    loaded = PairsCheckpoint.load(path)
    config, info = loaded.config, about.figures(loaded.info)
    parameters = sum(array.size for array in loaded.weights.values())
    partner = loaded.partner
    if json:
        about_partner = {} if partner is None else {"partner": partner.to_json()}
        out_json({"path": str(loaded.path), "parameters": parameters, **about_partner, **info})
        return
    source, target = loaded.source_tokenizer, loaded.tokenizer
    features = ""
    if isinstance(source, FeaturedTokenizer):
        features = f", {len(source.features):,} of them features"
    rows = {
        "path": loaded.path,
        "kind": "translator",
        "step": f"{loaded.step:,}",
        "source": f"{source.level}, {source.vocab_size:,} types{features}",
        "target": f"{target.level}, {target.vocab_size:,} types",
        "model": f"encoder (both ways) and decoder, each {config.num_layers} x "
        f"{config.hidden_size} {config.cell}, embedding {config.embedding_size}"
        f"{' of both sides' if config.shared_vocabulary else ''}"
        f"{', tied weights' if config.tie_weights else ''}",
        "attention": config.attention,
        "parameters": f"{parameters:,}",
    }
    if partner is not None:
        counts = partner.joint.counts
        number = sum(len(level.keys) for level in counts.levels)
        rows["partner"] = (
            f"{number:,} joint n-grams (up to {counts.order}), share {partner.share:.2f}; not with "
            "--alone"
        )
    accuracy, loss = info.get("best_accuracy"), info.get("best_loss_nats_per_token")
    if isinstance(accuracy, float) and isinstance(loss, float):
        rows["validation"] = f"accuracy {accuracy:.4f}, {loss:.4f} nats per token"
    _show_rows(rows)
