"""The card of a model: what it is, what it learned from, how good it is, how it is loaded."""

from collections.abc import Mapping
from typing import Any

from charlm.checkpoints import about
from charlm.exchange.hub.shape import shape_of
from charlm.models.kinds import kind_of
from charlm.models.language_model import LanguageModel
from charlm.models.load import AnyModel
from charlm.models.translator import Translator

_TASKS = {
    "language-model": "text-generation",
    "cloze": "fill-mask",
    "classifier": "text-classification",
    "tagger": "token-classification",
    "translator": "translation",
}
_USES = {
    "language-model": 'model.score("a sentence").total_log_prob, model.sample(n=3)',
    "cloze": 'model.fill("a text with a [?] in it")',
    "classifier": 'model.classify(["a text"])',
    "tagger": 'model.tag([["a", "sentence"]])',
    "translator": 'model.translate("a source")',
}
_FILL_IN = "(fill in)"


def card(model: AnyModel, directory: str | None = None) -> str:
    """The card, in Markdown with the header that the hub reads; what only people know is left open.

    directory is where it will be, if that is not its run.
    """
    checkpoint, kind = model.checkpoint, kind_of(model)
    name = checkpoint.path.parent.name
    place = str(checkpoint.path.parent) if directory is None else directory
    rows = {**shape_of(model), **_figures(checkpoint.info)}
    lines = [
        "---",
        "library_name: charlm",
        "license: other  # fill in",
        f"pipeline_tag: {_TASKS[kind]}",
        "tags:",
        "- charlm",
        f"- {kind}",
        "---",
        "",
        f"# {name}",
        "",
        f"A {kind.replace('-', ' ')} made by charlm.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {key} | {value} |" for key, value in rows.items()),
        "",
        "## Data",
        "",
        f"Source, language, licence of the text: {_FILL_IN}.",
        *_data(checkpoint.info),
        "",
        "## Use",
        "",
        "```python",
        "import charlm",
        "",
        f'model = charlm.load("{place}")  # the directory of the model',
        _USES[kind],
        "```",
        "",
        "## Limits",
        "",
        f"What it is meant for, and what it is not: {_FILL_IN}. It knows what stands in its text, ",
        *_limits(model),
        "",
        "## Licence",
        "",
        f"{_FILL_IN}",
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _limits(model: AnyModel) -> list[str]:
    """What of the text may be read out of the files."""
    has_counts = isinstance(model, LanguageModel) and model.checkpoint.counts is not None
    if isinstance(model, LanguageModel | Translator):
        has_counts |= model.checkpoint.partner is not None
    told = "and may repeat parts of it."
    if has_counts:
        told += " Its n-grams hold short pieces of the text word for word."
    return [told]


def _figures(info: Mapping[str, Any]) -> dict[str, str]:
    """What was measured on the text held out."""
    info = about.figures(dict(info))
    names = {
        "best_loss_nats_per_token": ("validation loss", "{:.4f} nats per token"),
        "best_loss_nats_per_label": ("validation loss", "{:.4f} nats per label"),
        "best_accuracy": ("validation accuracy", "{:.4f}"),
        "best_span_f1": ("validation F1 of spans", "{:.4f}"),
    }
    return {
        told: form.format(info[field])
        for field, (told, form) in names.items()
        if isinstance(info.get(field), float)
    }


def _data(info: Mapping[str, Any]) -> list[str]:
    """How much text there was, and how it was learned."""
    lines = []
    text = info.get("text")
    for side, told in (("train", "Trained on"), ("valid", "Held out")):
        counts = text.get(side) if isinstance(text, dict) else None
        if isinstance(counts, dict):
            sizes = [
                f"{counts[unit]:,} {unit}"
                for unit in ("sequences", "texts", "pairs", "characters", "words", "tokens")
                if isinstance(counts.get(unit), int)
            ]
            lines.append(f"{told}: {', '.join(sizes)}.")
    if isinstance(text, dict) and isinstance(text.get("fingerprint"), str):
        lines.append(f"SHA-256 of the text: `{text['fingerprint']}`.")
    if isinstance(imported := info.get("imported"), dict):
        lines.append(f"Imported from `{imported.get('file')}`.")
    if isinstance(training := info.get("training"), dict):
        lines.append(
            f"Training: {training.get('num_steps'):,} steps planned, {info.get('step'):,} taken to "
            f"this one, batches of {training.get('batch_size')}, peak learning rate "
            f"{training.get('learning_rate')}, seed {training.get('seed')}."
        )
    versions = info.get("versions")
    if isinstance(versions, dict):
        lines.append(f"Versions: {', '.join(f'{key} {one}' for key, one in versions.items())}.")
    return [part for line in lines for part in ("", line)]
