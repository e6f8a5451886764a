"""Laws of several processes: what they train together is what one would have trained alone."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from charlm.checkpoints import directory
from charlm.checkpoints.run import Run, Saved
from charlm.checkpoints.tensors import parse_tensors
from charlm.errors import UsageError
from charlm.nn.objectives import StepLoss
from charlm.nn.shares import Share
from charlm.training.loop import train_steps
from charlm.training.ranks.gradients import GradientSum
from charlm.training.ranks.launched import Launched, launched
from charlm.training.ranks.ranks import ALONE, Ranks
from charlm.training.ranks.watched_run import WatchedRun
from charlm.training.request import Request
from charlm.training.resume import resumed
from charlm.training.task import Event, Planned, RolledBack, Step, Validated
from charlm.training.trainer import Trainer
from tests.support.kinds import outcome, with_texts
from tests.support.ranks import in_threads

OF_KIND: dict[str, dict[str, Any]] = {
    "plain": {"corpus": "corpus.txt", "split_on": "paragraph", "bptt_length": 16},
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


def same(these: list[Tensor], those: list[Tensor]) -> bool:
    """Bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(these, those, strict=True))


# Steps


@pytest.mark.parametrize(("size", "dropout"), [(2, 0.0), (2, 0.3), (3, 0.3)])
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
    several[0].is_close_to(alone, 1e-6, 1e-5)
    for other in several[1:]:
        assert other.steps == several[0].steps
        assert all(map(same, other.parameters, several[0].parameters))


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_two_hundred_steps_of_two_are_those_of_one(folder: Path, dropout: float) -> None:
    """Losses stay within 1e-6 of one process's, and parameters beside each other."""
    shape = {"layers": 2, "dropout": dropout, "input_dropout": dropout}
    trainer = settled(folder, "plain", steps=200, **shape)
    (alone,) = trained(trainer, 1)
    trained(trainer, 2)[0].is_close_to(alone, 1e-6, 1e-5)


@pytest.mark.parametrize("kind", ["plain", "cloze"])
@pytest.mark.parametrize("tied", [False, True])
def test_sampled_types_are_the_same_everywhere(folder: Path, kind: str, tied: bool) -> None:
    """The softmax of a step sums over one sample of types, whoever reads the rows. Of gradients of
    few rows of a matrix these rows are summed. A running mean of weights goes with it.
    """
    trainer = settled(folder, kind, dropout=0.2, tie_weights=tied, batch_size=2)
    fields = {"frequent_types": 4, "sampled_types": 6, "average_decay": 0.9, "smoothing": 0.0}
    trainer.training = dataclasses.replace(trainer.training, **fields)
    (alone,) = trained(trainer, 1)
    trained(trainer, 3)[0].is_close_to(alone, 1e-6, 1e-5)


@pytest.mark.parametrize("kind", ["plain", "cloze"])
@pytest.mark.parametrize("tied", [False, True])
def test_row_wise_steps_are_the_same_everywhere(folder: Path, kind: str, tied: bool) -> None:
    """Where steps change few rows alone, these are the rows that any process has read or drawn."""
    trainer = settled(folder, kind, dropout=0.2, tie_weights=tied, batch_size=2)
    fields = {"frequent_types": 4, "sampled_types": 6, "row_wise": True, "smoothing": 0.0}
    trainer.training = dataclasses.replace(trainer.training, **fields)
    (alone,) = trained(trainer, 1)
    several = trained(trainer, 3)
    several[0].is_close_to(alone, 1e-6, 1e-5)
    assert all(map(same, several[2].parameters, several[0].parameters))


def test_softened_targets_are_the_same_everywhere(folder: Path) -> None:
    """What n-grams of the rest of the text say is looked up at the places of each part."""
    trainer = settled(folder, "plain", dropout=0.2, smoothing=0.5)
    assert trainer.training.smoothing == 0.5
    (alone,) = trained(trainer, 1)
    trained(trainer, 3)[0].is_close_to(alone, 1e-6, 1e-5)
    trainer.training = dataclasses.replace(trainer.training, smoothing=0.0)
    (plain,) = trained(trainer, 1)
    assert not all(map(same, plain.parameters, alone.parameters))


def test_a_part_without_rows_adds_nothing(folder: Path) -> None:
    """Of five processes and batches of two rows three read nothing, and take the same steps."""
    trainer = settled(folder, "labelled", batch_size=2)
    (alone,) = trained(trainer, 1)
    several = trained(trainer, 5)
    several[4].is_close_to(alone, 1e-6, 1e-5)


def spoil(state: Any, step: int) -> None:
    """Let a gradient of one process be not finite in a step."""
    state.module.softmax.bias.register_hook(
        lambda gradient: gradient * float("nan") if state.step == step else gradient
    )


def test_a_gradient_that_is_not_finite_is_so_for_all(folder: Path) -> None:
    """One bad number in one part: no process takes the step, and all take those after it."""
    trainer = settled(folder, "plain", steps=6)
    states = [trainer.task.new_state(trainer.config, trainer.training, "cpu") for _ in range(2)]
    spoil(states[1], 2)
    one, two = in_threads(2, lambda ranks: train(trainer, states[ranks.rank], ranks))
    assert [step.skipped for step in one.steps] == [n == 2 for n in range(6)]
    assert [step.skipped for step in two.steps] == [n == 2 for n in range(6)]
    assert same(one.parameters[1], one.parameters[2])
    assert not same(one.parameters[2], one.parameters[3])
    assert all(map(same, one.parameters, two.parameters))


def test_of_few_rows_few_are_sent(folder: Path) -> None:
    """A message of a step has the size of the rows that are touched, not of all types."""
    trainer = settled(folder, "plain", embedding=64)
    state = trainer.state
    sizes: list[int] = []

    def note(tensor: Tensor) -> None:
        sizes.append(tensor.numel())

    matrix = state.module.embedding.weight
    summing = GradientSum(state.module, (matrix,), note, note)
    matrix.grad = torch.zeros_like(matrix)
    made = StepLoss(torch.tensor(1.0), torch.tensor(1.0), 7)
    assert summing(made, {matrix: torch.tensor([3, 1, 3])}).num_targets == 7
    others = sum(each.numel() for each in state.module.parameters()) - matrix.numel()
    number = len(list(state.module.parameters()))
    assert sizes == [len(matrix), 2 * 64, others + number + 5]


# Runs


class Fitted(NamedTuple):
    """What a run told while it went on, and the messages that it took."""

    events: list[Event]
    messages: int


def opened(path: Path, ranks: Ranks) -> Run:
    """A run, of which one process is the writer."""
    return Run(path) if ranks.is_first else WatchedRun(path)


def fit(trainer: Trainer, run: Run, stop_at: int | None = None) -> Fitted:
    """Train to the end in a run, or until this process is told to stop after a step."""
    ranks: Any = trainer.ranks
    before = getattr(ranks, "messages", 0)
    events = list(trainer.train(run, should_stop=lambda: trainer.state.step == stop_at))
    return Fitted(events, getattr(ranks, "messages", 0) - before)


def begun(
    trainer: Trainer,
    path: Path,
    size: int,
    stop_at: int | None = None,
    spoiled: int | None = None,
) -> list[Fitted]:
    """A run of several processes; the last alone is told to stop, or has a gradient spoiled."""
    task = trainer.task
    states = [task.new_state(trainer.config, trainer.training, "cpu") for _ in range(size)]
    if spoiled is not None:
        spoil(states[-1], spoiled)

    def work(ranks: Ranks) -> Fitted:
        mine = dataclasses.replace(trainer, state=states[ranks.rank], ranks=ranks)
        task.deal(mine.state, ranks)
        with opened(path, ranks) as run:
            if ranks.is_first:
                mine.begin(run)
            return fit(mine, run, stop_at if ranks.rank == size - 1 else None)

    return [work(ALONE)] if size == 1 else in_threads(size, work)


def gone_on_with(path: Path, size: int, told: list[str]) -> list[Fitted]:
    """The rest of a run that was stopped, and what the first process says."""

    def work(ranks: Ranks) -> Fitted:
        with opened(path, ranks) as run:
            said = told.append if ranks.is_first else lambda _: None
            return fit(resumed(run, {}, said, ranks=ranks), run)

    return [work(ALONE)] if size == 1 else in_threads(size, work)


def arrays_of(run: Path, step: int, name: str) -> Any:
    """The tensors of a file of a step."""
    path = run / directory.step_name(step) / f"{name}.safetensors"
    return parse_tensors(path, path.read_bytes())


OPTIONS = {"steps": 24, "dropout": 0.2, "patience": 9}


@pytest.mark.parametrize("kind", OF_KIND)
def test_a_run_of_two_is_a_run_of_one(folder: Path, tmp_path: Path, kind: str) -> None:
    """Both tell the same events: the validations, in shares, are one process's, and so are the
    steps; one of them writes.
    """
    trainer = settled(folder, kind, **OPTIONS)
    (alone,) = begun(trainer, tmp_path / "alone", 1)
    one, two = begun(trainer, tmp_path / "two", 2)
    assert [type(event) for event in one.events] == [type(event) for event in alone.events]
    assert one.events == two.events
    for mine, other in zip(one.events, alone.events, strict=True):
        if isinstance(mine, Validated):
            assert isinstance(other, Validated)
            assert mine.is_best == other.is_best
            assert mine.loss == pytest.approx(other.loss, rel=1e-5)
            assert mine.accuracy == pytest.approx(other.accuracy)
    logs = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("alone", "two")]
    assert [len(log.splitlines()) for log in logs] == [len(logs[0].splitlines())] * 2


@pytest.mark.parametrize("kind", ["labelled", "tagger"])
def test_all_go_back_together(folder: Path, tmp_path: Path, kind: str) -> None:
    """A gradient of one that is not finite: with on_nan rollback both have the same step back."""
    trainer = settled(folder, kind, **OPTIONS, on_nan="rollback")
    (alone,) = begun(trainer, tmp_path / "alone", 1, spoiled=13)
    one, two = begun(trainer, tmp_path / "two", 2, spoiled=13)
    (back,) = (event for event in one.events if isinstance(event, RolledBack))
    assert back.step == 14
    assert back.to_step > 0
    assert back in alone.events
    assert [type(event) for event in one.events] == [type(event) for event in alone.events]
    assert str(one.events) == str(two.events)  # NaN is not itself
    for mine, other in zip(one.events, alone.events, strict=True):
        if isinstance(mine, Step) and not mine.skipped:
            assert isinstance(other, Step)
            assert mine.loss == pytest.approx(other.loss, rel=1e-5)


@pytest.mark.parametrize("kind", OF_KIND)
@pytest.mark.parametrize("size", [2, 3])
def test_validations_in_shares_are_those_of_one(folder: Path, kind: str, size: int) -> None:
    """The figures of the same weights are the same to the bit."""
    trainer = settled(folder, kind)
    task, material, training = trainer.task, trainer.material, trainer.training
    states = [task.new_state(trainer.config, training, "cpu") for _ in range(size + 1)]
    for state in states:
        state.step = 1

    def validate(ranks: Ranks) -> Any:
        return task.validate(states[ranks.rank], training, material, lambda: False, ranks)

    found = in_threads(size, validate)
    assert found[0][0].loss is not None
    assert found == [task.validate(states[-1], training, material, lambda: False)] * size


def test_whoever_is_told_to_stop_stops_all(folder: Path, tmp_path: Path) -> None:
    """A signal to the last of three: all stop after the same step, which is saved once; what goes
    on from there is, to the bit, the run that was never stopped.
    """
    trainer = settled(folder, "plain", **OPTIONS)
    begun(trainer, tmp_path / "whole", 3)
    stopped = begun(trainer, tmp_path / "stopped", 3, stop_at=10)
    assert "recurrent.0.0" in arrays_of(tmp_path / "stopped", 10, "training")
    for one in stopped:
        assert max(each.step for each in one.events if isinstance(each, Step)) == 10
        assert [each.step for each in one.events if isinstance(each, Saved)][-1] == 10
    told: list[str] = []
    gone_on_with(tmp_path / "stopped", 3, told)
    assert not [line for line in told if "bit-identical" in line]
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "whole")


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
def test_another_number_of_processes_goes_on_but_for_rounding(
    folder: Path, tmp_path: Path, before: int, after: int
) -> None:
    """It reads the same rows with the same masks, the carried state too, and that is said."""
    trainer = settled(folder, "plain", **OPTIONS)
    begun(trainer, tmp_path / "whole", 1)
    begun(trainer, tmp_path / "stopped", before, stop_at=10)
    told: list[str] = []
    gone_on_with(tmp_path / "stopped", after, told)
    (line,) = [line for line in told if "bit-identical" in line]
    assert f"processes {before} there, {after} here" in line
    for name in ("model", "training"):
        whole, mine = (arrays_of(tmp_path / run, 24, name) for run in ("whole", "stopped"))
        assert whole.keys() == mine.keys()
        for key, array in whole.items():
            np.testing.assert_allclose(mine[key], array, rtol=1e-4, atol=1e-5)


def test_a_step_costs_two_messages(folder: Path, tmp_path: Path) -> None:
    """Gradients with the loss in them, and the time with who wants to stop."""
    fewer, more = (
        begun(settled(folder, "classifier", steps=steps), tmp_path / str(steps), 2)
        for steps in (40, 60)
    )
    validations = [
        sum(isinstance(event, Validated) for event in found[0].events) for found in (fewer, more)
    ]
    assert validations[0] == validations[1]
    assert more[0].messages - fewer[0].messages == 2 * 20


def test_time_is_the_first_process_s(folder: Path, tmp_path: Path) -> None:
    """With a budget of time, whatever their own clocks say, all make the same plans."""
    trainer = settled(folder, "plain", steps=None, seconds=1.0)
    one, two = begun(trainer, tmp_path / "run", 2)
    plans = [[e.training for e in each.events if isinstance(e, Planned)] for each in (one, two)]
    assert plans[0] == plans[1]
    assert one.events == two.events
    assert [type(event) for event in one.events].count(Saved) > 0


# What is agreed


def test_what_the_first_says_goes() -> None:
    """Its time and what it found, to the bit; to stop is what any of them wants."""
    said = {"path": "ä/b", "figures": [0.1, float("inf"), -0.0, 2**53, None]}

    def agree(ranks: Ranks) -> Any:
        news = ranks.news(lambda: 7.0 + ranks.rank, lambda: ranks.rank == 1 and len(asked) > 0)
        before = news.should_stop()
        ranks.wait()
        asked.append(ranks.rank)
        news.refresh()
        clock = ranks.clock(lambda: 5.0 + ranks.rank)
        found = ranks.first(lambda: said if ranks.is_first else {})
        return before, news.should_stop(), news.now(), clock(), found, ranks.largest(ranks.rank)

    asked: list[int] = []
    assert in_threads(3, agree) == [(False, True, 7.0, 5.0, said, 2)] * 3


def test_shares_are_the_rows_once_each() -> None:
    """Whatever their number; those that run longest are shared out evenly."""
    for rows in range(7):
        shares = [Share(rank, 3, rows) for rank in range(3)]
        parts = [list(range(rows))[share.index] for share in shares]
        assert sorted([*parts[0], *parts[1], *parts[2]]) == list(range(rows))
        assert [share.number for share in shares] == list(map(len, parts))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


# How they are started


def test_torchrun_names_processes() -> None:
    """Of one there is nothing to join; what names no process is refused."""
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    of_two = dict(zip(names, ("1", "2", "localhost", "29500"), strict=True))
    local = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    assert launched(of_two) == Launched(1, 2, 1, 2)
    assert launched(of_two | local) == Launched(1, 2, 0, 1)
    assert launched(of_two | {"WORLD_SIZE": "1", "RANK": "0"}) is None
    for name in names:
        assert launched({key: of_two[key] for key in names if key != name}) is None
    for wrong in ({"RANK": "2"}, {"RANK": "-1"}, {"WORLD_SIZE": "two"}, {"LOCAL_RANK": "7"}):
        with pytest.raises(UsageError, match="torchrun"):
            launched(of_two | wrong)


def test_processes_must_have_read_the_same() -> None:
    """Who has something else than the first says what."""

    def check(ranks: Ranks) -> str:
        mine = {"text": "a", "tokenizer": "b" if ranks.rank != 1 else "c"}
        try:
            ranks.check_same(mine)
        except UsageError as error:
            return str(error)
        return ""

    first, second, third = in_threads(3, check)
    assert (first, third) == ("", "")
    assert "process 1 has another tokenizer than process 0" in second
