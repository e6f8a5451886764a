"""Laws of several processes: what they train together is what one would have trained alone."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from charlm.training.loop import train_steps
from charlm.training.ranks.ranks import ALONE, Ranks
from charlm.training.request import Request
from charlm.training.task import Step
from charlm.training.trainer import Trainer
from tests.support.kinds import with_texts
from tests.support.ranks import in_threads

OF_KIND: dict[str, dict[str, Any]] = {
    "plain": {"corpus": "corpus.txt", "split_on": "paragraph"},
    "labelled": {"corpus": "labelled.tsv", "label_from": "column:2"},
    "cloze": {"corpus": "corpus.txt", "split_on": "paragraph", "task": "cloze"},
    "classifier": {"corpus": "labelled.tsv", "label_from": "column:2", "task": "classifier"},
    "tagger": {"corpus": "tagged.conll", "task": "tagger"},
    "translator": {"corpus": "pairs.tsv", "task": "translator"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a corpus of each kind."""
    return with_texts(tmp_path_factory.mktemp("ranks"))


def settled(folder: Path, kind: str, **options: Any) -> Trainer:
    """A training of a kind, which nobody has begun."""
    small = {"hidden": 8, "embedding": 8, "batch_size": 5, "steps": 20}
    asked = {**small, **OF_KIND[kind], **options}
    corpus = (str(folder / asked.pop("corpus")),)
    return Trainer.settle(Request(corpus=corpus, **asked), lambda _: None)


class Trained(NamedTuple):
    """The steps of a training, and the parameters after each."""

    steps: list[Step]
    parameters: list[list[Tensor]]

    def is_close_to(self, other: "Trained", loss: float, parameter: float) -> None:
        """Fail where a loss or parameter is farther from the other's than rounding explains."""
        assert len(self.steps) == len(other.steps) > 0
        for one, two in zip(self.steps, other.steps, strict=True):
            assert one.loss == pytest.approx(two.loss, rel=loss)
            assert one.accuracy == pytest.approx(two.accuracy)
            assert one.grad_norm == pytest.approx(two.grad_norm, rel=1e-3)
            same = [(each.step, each.num_targets, each.learning_rate) for each in (one, two)]
            assert same[0] == same[1]
        for these, those in zip(self.parameters, other.parameters, strict=True):
            torch.testing.assert_close(these, those, rtol=parameter, atol=parameter)


def train(trainer: Trainer, state: Any, ranks: Ranks = ALONE) -> Trained:
    """Take all steps, validating nothing."""
    steps, parameters = [], []
    trainer.task.deal(state, ranks)
    for step in train_steps(trainer.task, state, trainer.training, trainer.material, ranks=ranks):
        steps.append(step)
        parameters.append([each.detach().clone() for each in state.module.parameters()])
    return Trained(steps, parameters)


def trained(trainer: Trainer, size: int) -> list[Trained]:
    """What each of several processes trains; of one, what it trains alone."""
    states = [trainer.task.new_state(trainer.config, trainer.training, "cpu") for _ in range(size)]
    if size == 1:
        return [train(trainer, states[0])]
    return in_threads(size, lambda ranks: train(trainer, states[ranks.rank], ranks))


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("kind", OF_KIND)
def test_several_train_what_one_trains(folder: Path, kind: str, dropout: float, size: int) -> None:
    """After every step parameters are one process's, to rounding, and to the bit each other's.

    With dropout too, with tokens that are lost and gaps that are drawn: masks are those of the
    whole batch, of which each process takes the rows that it reads. Some batches have fewer rows
    than there are processes.
    """
    trainer = settled(folder, kind, dropout=dropout, input_dropout=dropout)
    (alone,) = trained(trainer, 1)
    several = trained(trainer, size)
    several[0].is_close_to(alone, 1e-5, 1e-4)
    for other in several[1:]:
        assert other.steps == several[0].steps
        for these, those in zip(other.parameters, several[0].parameters, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(these, those, strict=True))
