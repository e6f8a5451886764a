"""What a model is, in a few rows."""

from charlm.models.heads import Classifier, Tagger
from charlm.models.language_model import LanguageModel
from charlm.models.load import AnyModel
from charlm.models.translator import Translator
from charlm.network_config import CountsConfig


def shape_of(model: AnyModel) -> dict[str, str]:
    """Its tokens, its network or counts, and how large it is."""
    checkpoint, config = model.checkpoint, model.checkpoint.config
    level = checkpoint.tokenizer.level if checkpoint.tokenizer is not None else "word"
    rows = {"vocabulary": f"{config.vocab_size:,} types at {level} level"}
    if isinstance(config, CountsConfig):
        rows["model"] = f"{config.num_ngrams:,} n-grams of up to {config.order} tokens"
    else:
        rows["network"] = f"{config.num_layers}-layer {config.cell}, {config.hidden_size:,} units"
        rows["parameters"] = f"{sum(one.size for one in checkpoint.weights.values()):,}"
    if isinstance(model, Classifier | Tagger):
        rows["labels"] = f"{len(model.checkpoint.labels):,}"
    elif isinstance(model, LanguageModel):
        if model.labels is not None:
            rows["labels"] = f"{len(model.labels.names):,}"
        if model.checkpoint.partner is not None:
            rows["beside it"] = "n-grams or a cache of the sequence's own tokens, mixed in"
    elif isinstance(model, Translator) and model.checkpoint.partner is not None:
        rows["beside it"] = "joint n-grams, mixed in"
    return rows
