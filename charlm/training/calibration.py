"""Calibrating a conditional model as a classifier, once it has been trained.

How sure it is of a label is fitted to the text held out: one temperature (inference/classify.py),
kept with the labels of the step that was best.
"""

import dataclasses
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.checkpoints import directory
from charlm.checkpoints.json_objects import to_json
from charlm.checkpoints.language_model import Checkpoint
from charlm.checkpoints.step import replace_file
from charlm.inference.classify import fit_temperature, log_posterior, report
from charlm.inference.labels import Labels
from charlm.models.language_model import LanguageModel
from charlm.text.tokens import TokenizedText
from charlm.training.request import Say

_TOKENS = 2**22  # of the text held out, read once for each label, are enough


class Calibrated(NamedTuple):
    """The labels with their temperature, and what the model said of the texts held out.

    true (N,) are the labels that they have, log_posteriors (N, L) what they were given.
    """

    labels: Labels
    true: NDArray[np.int64]
    log_posteriors: NDArray[np.float64]


def is_due(run: Path) -> bool:
    """Whether the best step of a run is of a conditional model that has not been calibrated."""
    labels = Checkpoint.load(directory.best_step(run)).labels
    return labels is not None and labels.temperature is None


def calibrate(path: Path, valid: TokenizedText) -> Calibrated:
    """Fit the temperature of a step to text held out, and write it into the step.

    Of much text about as many sequences are read as 2^22 tokens, times the labels, allow.
    """
    lm = LanguageModel(Checkpoint.load(path))
    assert lm.labels is not None
    assert valid.labels is not None
    sequences = valid.sequences()
    share = min(1.0, _TOKENS / (valid.num_tokens * len(lm.labels.names)))
    number = max(1, int(share * len(sequences)))
    chosen = ((np.arange(number) + 0.5) * len(sequences) / number).astype(np.int64)
    true = valid.labels[chosen]
    log_probs = lm.engines.log_likelihoods([sequences[index] for index in chosen])
    prior = lm.labels.log_prior
    temperature = fit_temperature(log_probs, prior, true)
    labels = dataclasses.replace(lm.labels, temperature=temperature)
    replace_file(path, "labels.json", to_json(labels.to_json()))
    return Calibrated(labels, true, log_posterior(log_probs, prior, temperature))


def calibrate_and_say(path: Path, valid: TokenizedText, say: Say) -> None:
    """Fit how sure the model is of labels, and say how good it is at them."""
    begun = time.perf_counter()
    found = calibrate(path, valid)
    names = found.labels.names
    predicted = [names[index] for index in found.log_posteriors.argmax(axis=1)]
    figures = report([names[index] for index in found.true], predicted)
    say(
        f"classify: {figures.accuracy:.2%} of {figures.texts:,} texts held out get their label "
        f"(mean of the labels {figures.macro_accuracy:.2%}), temperature "
        f"{found.labels.temperature:.3f} ({time.perf_counter() - begun:.1f} s)"
    )
