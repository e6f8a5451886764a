"""Laws of the configs: what is accepted comes back from JSON as it was, the rest is refused."""

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config import CELLS, ON_NAN, PRECISIONS, UNKNOWN, SamplingConfig, TrainingConfig
from charlm.errors import UsageError
from charlm.network_config import (
    CausalConfig,
    ClassifierConfig,
    ClozeConfig,
    NetworkConfig,
    TaggerConfig,
    head_config,
    language_config,
)

Config = NetworkConfig | TrainingConfig | SamplingConfig
HEADS = (
    ClassifierConfig(vocab_size=30, num_labels=3),
    TaggerConfig(vocab_size=30, num_labels=3, num_letters=9),
)
KINDS = (CausalConfig(vocab_size=30), ClozeConfig(vocab_size=30), *HEADS)
MODEL = CausalConfig(vocab_size=30)
TRAINING = TrainingConfig(num_steps=100)
SAMPLING = SamplingConfig()

models = st.builds(
    CausalConfig,
    vocab_size=st.integers(3, 10**7),
    cell=st.sampled_from(CELLS),
    num_layers=st.integers(1, 64),
    embedding_size=st.integers(1, 65_536),
    hidden_size=st.integers(1, 65_536),
    output_layers=st.integers(0, 16),
    dropout=st.floats(0, 0.95),
    tie_weights=st.booleans(),
)
trainings = st.builds(
    TrainingConfig,
    num_steps=st.integers(1, 10**12),
    bptt_length=st.integers(1, 2048),
    segment_length=st.integers(2048, 10**9),
    learning_rate=st.floats(0, 100),
    average_decay=st.floats(0, 0.999),
    frequent_types=st.integers(0, 10**7),
    sampled_types=st.integers(0, 10**7),
    validate_tokens=st.integers(0, 10**12),
    precision=st.sampled_from(PRECISIONS),
    on_nan=st.sampled_from(ON_NAN),
    seed=st.integers(0, 2**63 - 1),
)
samplings = st.builds(
    SamplingConfig,
    temperature=st.floats(0, 1000),
    top_k=st.none() | st.integers(1, 10**7),
    top_p=st.none() | st.floats(1e-9, 1),
    stop=st.lists(st.text(min_size=1), max_size=3).map(tuple),
    unknown=st.sampled_from(UNKNOWN),
)


@settings(max_examples=150, deadline=None)
@given(models | trainings | samplings)
def test_json_brings_back_the_same_config(config: Config) -> None:
    """Written as JSON text and read again, a config is equal, of the same types and hashable."""
    again = type(config).from_json(json.loads(json.dumps(config.to_json(), allow_nan=False)))
    assert again == config
    assert hash(again) == hash(config)
    for field in dataclasses.fields(config):
        assert type(getattr(again, field.name)) is type(getattr(config, field.name))


@pytest.mark.parametrize("config", [*KINDS, TRAINING, SAMPLING])
def test_a_config_cannot_change(config: Config) -> None:
    """Configs are frozen and take no positional arguments."""
    name = dataclasses.fields(config)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, name, 5)
    with pytest.raises(TypeError):
        type(config)(5)  # type: ignore[misc]


@pytest.mark.parametrize("values", [None, [], "x", 3])
def test_only_an_object_is_a_config(values: object) -> None:
    """JSON that is no object is refused by its type's name."""
    with pytest.raises(UsageError, match=type(values).__name__):
        CausalConfig.from_json(values)


@pytest.mark.parametrize("config", [*KINDS, TRAINING, SAMPLING])
def test_fields_missing_or_unknown_are_refused(config: Config) -> None:
    """Every field must be there, even one with a default, and no other: damage is not guessed."""
    values = config.to_json()
    for name in values:
        with pytest.raises(UsageError, match=f"lacks '{name}'"):
            type(config).from_json({k: v for k, v in values.items() if k != name})
    with pytest.raises(UsageError, match="no field 'colour'"):
        type(config).from_json({**values, "colour": 1})


NUMBERS = [
    (config, field.name)
    for config in (*KINDS, TRAINING)
    for field in dataclasses.fields(config)
    if field.type in (int, float)
] + [(SAMPLING, name) for name in ("temperature", "top_k", "top_p", "max_tokens", "seed")]


@pytest.mark.parametrize(("config", "name"), NUMBERS)
@pytest.mark.parametrize(
    "value", ["5", True, [], math.nan, math.inf, -math.inf, -1, -0.5, 10**400, 1e300]
)
def test_numbers_are_checked(config: Config, name: str, value: Any) -> None:
    """No number takes text, a truth value, what is not finite, or what is beyond its range."""
    with pytest.raises(UsageError, match=f"{name} must be"):
        dataclasses.replace(config, **{name: value})


def test_whole_numbers_stay_whole_and_numbers_take_whole_ones() -> None:
    """3.0 is no number of layers; a rate of 1 is 1.0."""
    with pytest.raises(UsageError, match=r"num_layers must be a whole number from 1 to .*got 3\.0"):
        CausalConfig(vocab_size=30, num_layers=3.0)  # type: ignore[arg-type]
    config = TrainingConfig(num_steps=1, learning_rate=1)
    assert type(config.learning_rate) is float


@pytest.mark.parametrize(
    ("config", "field", "choice"),
    [
        (MODEL, "cell", "LSTM"),
        (MODEL, "cell", None),
        (TRAINING, "precision", "fp16"),
        (TRAINING, "on_nan", "ignore"),
        (SAMPLING, "unknown", "unk"),
    ],
)
def test_choices_are_checked(config: Config, field: str, choice: Any) -> None:
    """A name that is not on the list is refused, and the message holds the list."""
    with pytest.raises(UsageError, match=f"{field} must be .*(lstm|fp32|skip|spell)"):
        dataclasses.replace(config, **{field: choice})


@pytest.mark.parametrize("config", KINDS)
def test_json_tells_the_kind(config: NetworkConfig) -> None:
    """Each kind is known again by its JSON, and JSON of one kind is none of another."""
    read = head_config if config in HEADS else language_config
    assert read(config.to_json()) == config
    for other in KINDS:
        if other is not config:
            with pytest.raises(UsageError):
                type(other).from_json(config.to_json())


def test_what_a_kind_has_not_is_as_it_always_was() -> None:
    """A classifier without letters says so in its JSON, and another number is refused."""
    values = HEADS[0].to_json()
    assert values["num_letters"] == 0
    with pytest.raises(UsageError, match="num_letters must be 0, got 5"):
        head_config({**values, "num_letters": 5})


@pytest.mark.parametrize("value", [0, 1, None, "yes"])
def test_flags_are_true_or_false(value: Any) -> None:
    """1 is not true."""
    with pytest.raises(UsageError, match="tie_weights must be true or false"):
        CausalConfig(vocab_size=30, tie_weights=value)


def test_a_segment_is_at_least_a_window() -> None:
    """segment_length may equal bptt_length and may not be below it."""
    assert TrainingConfig(num_steps=1, bptt_length=9, segment_length=9).segment_length == 9
    with pytest.raises(UsageError, match="segment_length must be a whole number from 9"):
        TrainingConfig(num_steps=1, bptt_length=9, segment_length=8)


@pytest.mark.parametrize("stop", ["abc", 5, None, [""], ["a", 3]])
def test_stop_strings_are_a_list_of_strings(stop: Any) -> None:
    """One string is not taken for its letters, and an empty one would end everything."""
    with pytest.raises(UsageError, match="stop"):
        SamplingConfig(stop=stop)
