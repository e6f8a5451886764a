"""charlm: train a recurrent language model on your own text, sample from it, score with it.

    import charlm
    lm = charlm.train("corpus.txt", level="word", seconds=60)
    lm.score("The apple and pear salad").total_log_prob
    lm.sample(n=5, seed=1)
    charlm.load("checkpoints/run").evaluate(["The apple and pear salad"]).bits_per_character

Importing the package is light: what it offers is imported when it is asked for (PEP 562), and
torch when a model is trained or a large job is done.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charlm import bulk
    from charlm.checkpoints.run import Saved
    from charlm.config import SamplingConfig, TrainingConfig
    from charlm.errors import (
        ChangedError,
        CharlmError,
        CheckpointError,
        DivergedError,
        FieldError,
        LockedError,
        TextError,
        UsageError,
    )
    from charlm.inference.evaluate import Summary
    from charlm.inference.fill import Filling, Fillings
    from charlm.inference.labels import Labels
    from charlm.inference.next_token import NextToken, NextTokens
    from charlm.inference.pairs.error_rates import ErrorRates
    from charlm.inference.pairs.evaluate import PairSummary, SentenceScores
    from charlm.inference.pairs.score import PairScore, TargetToken
    from charlm.inference.pseudo import PseudoScore, PseudoSummary
    from charlm.inference.sample import Sample
    from charlm.inference.score import TextScore, TokenScore
    from charlm.inference.stream import Fragment
    from charlm.inference.words import WordScore
    from charlm.models.activations import Activations
    from charlm.models.cloze_model import ClozeModel
    from charlm.models.heads import Classifier, Tagger
    from charlm.models.language_model import LanguageModel
    from charlm.models.load import load
    from charlm.models.mixtures import SequenceMixture, TokenMixture, mix
    from charlm.models.translator import Translation, Translator
    from charlm.network_config import (
        CausalConfig,
        ClassifierConfig,
        ClozeConfig,
        PairsConfig,
        TaggerConfig,
    )
    from charlm.novelty.measure import Novelty
    from charlm.training.task import Event, Planned, RolledBack, Step, Validated
    from charlm.training.train import resume, train

__version__ = "0.1.0"

_FOUND_IN = {
    "training.train": ("train", "resume"),
    "models.load": ("load",),
    "models.mixtures": ("mix", "TokenMixture", "SequenceMixture"),
    "models.language_model": ("LanguageModel",),
    "models.activations": ("Activations",),
    "models.cloze_model": ("ClozeModel",),
    "models.heads": ("Classifier", "Tagger"),
    "models.translator": ("Translator", "Translation"),
    "inference.pairs.error_rates": ("ErrorRates",),
    "inference.pairs.evaluate": ("PairSummary", "SentenceScores"),
    "inference.pairs.score": ("PairScore", "TargetToken"),
    "inference.score": ("TextScore", "TokenScore"),
    "inference.words": ("WordScore",),
    "inference.evaluate": ("Summary",),
    "inference.sample": ("Sample",),
    "inference.stream": ("Fragment",),
    "inference.next_token": ("NextToken", "NextTokens"),
    "inference.fill": ("Filling", "Fillings"),
    "inference.pseudo": ("PseudoScore", "PseudoSummary"),
    "inference.labels": ("Labels",),
    "novelty.measure": ("Novelty",),
    "training.task": ("Event", "Step", "Validated", "RolledBack", "Planned"),
    "checkpoints.run": ("Saved",),
    "config": ("SamplingConfig", "TrainingConfig"),
    "network_config": (
        "CausalConfig",
        "ClassifierConfig",
        "ClozeConfig",
        "PairsConfig",
        "TaggerConfig",
    ),
    "errors": (
        *("ChangedError", "CharlmError", "CheckpointError", "DivergedError", "FieldError"),
        *("LockedError", "TextError", "UsageError"),
    ),
}
_MODULE_OF = {name: module for module, names in _FOUND_IN.items() for name in names}

__all__ = [
    "Activations",
    "CausalConfig",
    "ChangedError",
    "CharlmError",
    "CheckpointError",
    "Classifier",
    "ClassifierConfig",
    "ClozeConfig",
    "ClozeModel",
    "DivergedError",
    "ErrorRates",
    "Event",
    "FieldError",
    "Filling",
    "Fillings",
    "Fragment",
    "Labels",
    "LanguageModel",
    "LockedError",
    "NextToken",
    "NextTokens",
    "Novelty",
    "PairScore",
    "PairSummary",
    "PairsConfig",
    "Planned",
    "PseudoScore",
    "PseudoSummary",
    "RolledBack",
    "Sample",
    "SamplingConfig",
    "Saved",
    "SentenceScores",
    "SequenceMixture",
    "Step",
    "Summary",
    "Tagger",
    "TaggerConfig",
    "TargetToken",
    "TextError",
    "TextScore",
    "TokenMixture",
    "TokenScore",
    "TrainingConfig",
    "Translation",
    "Translator",
    "UsageError",
    "Validated",
    "WordScore",
    "__version__",
    "bulk",
    "load",
    "mix",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    """What the package offers, imported when it is asked for."""
    if name == "bulk":
        return importlib.import_module("charlm.bulk")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'charlm' has no attribute {name!r}")
    from charlm import threads

    threads.wait_briefly()  # before torch is imported by what is asked for
    return getattr(importlib.import_module(f"charlm.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
