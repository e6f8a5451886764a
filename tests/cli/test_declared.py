"""Laws of the options of a training: declared once, in its Request, and true."""

import dataclasses
from typing import Any

import pytest

from charlm.cli.app import subcommand
from charlm.cli.commands.train import seconds
from charlm.cli.input.asked import given
from charlm.cli.option_names import option_of
from charlm.config import LEVELS
from charlm.training import recipe
from charlm.training.kinds import KINDS, TASKS
from charlm.training.request import GROUPS, Request
from charlm.training.tasks import TASKS as TRAINED

TRAIN: Any = subcommand("train")
FIELDS = {field.name: field for field in dataclasses.fields(Request)}


def parsed(*arguments: str) -> dict[str, Any]:
    """The fields of a request that a command line names."""
    values = TRAIN.make_context("train", list(arguments)).params
    return given({name: values[name] for name in FIELDS if name in values}, GROUPS | TASK)


@dataclasses.dataclass
class Named:
    """What train declares by itself."""

    task: str | None = None
    corpus: tuple[str, ...] = ()


TASK = {"Task": Named}


def test_every_field_of_a_request_is_an_option() -> None:
    """Below the heading of its group, with a line of help."""
    options = {parameter.name: parameter for parameter in TRAIN.params}
    for heading, group in GROUPS.items():
        for field in dataclasses.fields(group):
            option = options[field.name]
            assert option_of(field.name) in option.opts
            assert option.rich_help_panel == heading
            assert option.help[0].isupper()
    assert {"task", "corpus"} == FIELDS.keys() - {
        field.name for group in GROUPS.values() for field in dataclasses.fields(group)
    }


def test_what_is_not_named_is_not_asked_for() -> None:
    """Nothing given is nothing asked; zero, and no with a reason, are something."""
    assert parsed() == {}
    assert parsed("--seed", "0", "--dropout", "0", "--untie-weights") == {
        "seed": 0,
        "dropout": 0.0,
        "tie_weights": False,
    }
    assert parsed("--lowercase", "--valid", "a", "--valid", "b", "--time", "2m") == {
        "lowercase": True,
        "valid": ("a", "b"),
        "seconds": 120.0,
    }


def test_what_is_parsed_makes_a_request() -> None:
    """With the types that its fields have; run.json gives it back."""
    asked = parsed("/x", "--task", "Classifier", "--layers", "2", "--learning-rate", "0.01")
    request = Request(**asked)
    assert (request.task, request.corpus) == ("classifier", ("/x",))
    assert request.model == {"num_layers": 2}
    assert request.training == {"learning_rate": 0.01}
    assert Request.from_json(request.to_json()) == request


def test_each_kind_lacks_options_that_there_are() -> None:
    """What is declared of a kind of model names fields of a Request, and its task trains it."""
    assert set(KINDS) == set(TASKS) == set(TRAINED)
    for name, kind in KINDS.items():
        assert kind.name == name == TRAINED[name].name
        assert TRAINED[name].declared is kind
        assert kind.lacks <= FIELDS.keys() | {"index"}
        assert set(kind.levels) <= set(LEVELS)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("num_tokens", [1000, 10**5, 10**7])
@pytest.mark.parametrize("mean_length", [5, 5000])
def test_defaults_that_help_names_are_true(level: str, num_tokens: int, mean_length: int) -> None:
    """The recipe takes what the help says that it takes; a budget is that of the kind."""
    chosen = recipe.choose(
        level=level,
        vocab_size=100,
        num_tokens=num_tokens,
        num_sequences=max(1, num_tokens // mean_length),
        seconds=180,
        model={},
        training={},
    )
    told = {name: str(field.metadata.get("chosen")) for name, field in FIELDS.items()}
    low, high = (float(word.rstrip(",")) for word in told["learning_rate"].split() if "." in word)
    assert low <= chosen.training.learning_rate <= high
    assert f"{chosen.training.weight_decay:g}" in told["weight_decay"]
    assert f"{chosen.training.max_grad_norm:g}" == told["max_grad_norm"]
    assert chosen.training.on_nan == told["on_nan"]
    assert chosen.model.cell == told["cell"]
    assert str(chosen.model.num_layers) == told["layers"]
    assert told["output_layers"].startswith(str(chosen.model.output_layers))
    assert chosen.model.tie_weights == (level != "char")
    texts, labels = told["seconds"].split("; ")
    assert seconds(texts) == KINDS["language-model"].seconds == KINDS["cloze"].seconds
    assert seconds(labels.split()[0]) == KINDS["classifier"].seconds == KINDS["tagger"].seconds
