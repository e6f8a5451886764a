"""Laws of the index of a training text: bounded, saved whole, and refused when it is not one."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.checkpoints import directory
from charlm.errors import CheckpointError
from charlm.novelty import text_index
from charlm.novelty.measure import index_of, measure, samples_of
from charlm.novelty.text_index import Index, source_of
from charlm.text.corpus import sequence_hashes

FOX = ["the fox sat", "a fox ran to the hen", "the hen and the fox"]


@settings(deadline=None, max_examples=60)
@given(
    sequences=st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=30),
    limit=st.integers(1500, 6000),
)
def test_the_index_is_bounded(
    sequences: list[str], limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It takes no more bytes than it may, and says how much of the text it holds."""
    source = source_of(sequences, limit=limit)
    index = Index.build(source)
    assert text_index.save(tmp_path_factory.getbasetemp(), index, "text") <= limit
    assert index.sequences() == source.sequences
    assert index.indexed == sum(map(len, source.sequences)) / sum(map(len, sequences))
    cut = 0
    for number, text in zip(source.numbers, source.sequences, strict=True):
        assert sequences[number].startswith(text)
        cut += sequences[number] != text
    assert cut <= 1
    again = source_of(sequences, limit=limit)
    assert again.sequences == source.sequences  # drawn at random, always the same
    if index.indexed == 1:
        assert source.sequences == sequences


def test_what_is_not_indexed_is_known_by_its_hash() -> None:
    """Of a text that does not fit whole sequences are known all the same, spans may be missed."""
    sequences = [f"{'fox' * 20} number {n}" for n in range(200)]
    index = Index.build(source_of(sequences, limit=4000))
    assert 0 < index.indexed < 0.5
    found = measure(index, samples_of(sequences), known=sequence_hashes(sequences))
    assert found.in_training_text == 200
    assert 0 < found.copied_whole < 200
    for sample in found.samples:  # of one that is in it the place is that in the whole text
        if sample.is_copied_whole and sample.copy is not None and sample.copy.times == 1:
            assert sequences[sample.copy.sequence - 1].startswith(sample.text)


@settings(deadline=None, max_examples=40)
@given(sequences=st.lists(st.text(min_size=1, max_size=20), max_size=8))
def test_an_index_survives_being_saved(
    sequences: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Loaded again it gives the same figures, those of the held-out text among them."""
    folder = tmp_path_factory.getbasetemp()
    index = index_of(source_of(sequences, ["the hen", "☃ ☃"]))
    text_index.save(folder, index, "text")
    loaded = text_index.load(folder, "text")
    samples = samples_of([*sequences, "the hen", "".join(sequences)])
    assert measure(loaded, samples) == measure(index, samples)
    assert loaded.sequences() == sequences
    assert set(loaded.held_out_words) == {1, 2}
    assert 7 in loaded.held_out_characters


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A directory with an index."""
    text_index.save(tmp_path, Index.build(source_of(FOX)), "text")
    return tmp_path


def test_a_damaged_index_is_refused(saved: Path) -> None:
    """Any byte changed, a part missing, or another run's: an error that names the file."""
    path, about = saved / "novelty.safetensors", saved / "novelty.json"
    data, described = path.read_bytes(), about.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(data), 30):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(CheckpointError, match=r"novelty\.safetensors is damaged"):
            text_index.load(saved, "text")
    for broken in (b"", data[:-1], data + b"x"):
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match=r"novelty\.safetensors is damaged"):
            text_index.load(saved, "text")
    path.unlink()
    with pytest.raises(CheckpointError, match=r"cannot read .*novelty\.safetensors"):
        text_index.load(saved, "text")
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="another training text"):
        text_index.load(saved, "another text")
    for changed in ({"format": 2}, {"held_out_unseen_word_ngrams": 3}, {"sequences": "3"}):
        about.write_text(json.dumps({**json.loads(described), **changed}))
        with pytest.raises(CheckpointError, match="novelty"):
            text_index.load(saved, "text")
    about.write_bytes(described[:-5])
    with pytest.raises(CheckpointError, match=r"novelty\.json is damaged"):
        text_index.load(saved, "text")
    text_index.remove(saved)
    with pytest.raises(CheckpointError, match="against"):
        text_index.load(saved, "text")


def with_arrays(run: Path, changes: dict[str, Any], left_out: str = "") -> None:
    """Put an index in the place of a run's whose hash is right and whose arrays somebody made."""
    path = run / "novelty.safetensors"
    arrays = {**safetensors.numpy.load(path.read_bytes()), **changes}
    arrays.pop(left_out, None)
    data = safetensors.numpy.save(arrays)
    path.write_bytes(data)
    about = directory.read_json(run / "novelty.json")
    digest = hashlib.sha256(data).hexdigest()
    (run / "novelty.json").write_text(json.dumps({**about, "size": len(data), "sha256": digest}))


NUM_SYMBOLS = sum(map(len, FOX)) + len(FOX)


@pytest.mark.parametrize(
    "changes",
    [
        {"order": np.arange(NUM_SYMBOLS + 1, dtype=np.int32)},
        {"order": np.arange(1, NUM_SYMBOLS + 1, dtype=np.int32)},
        {"order": np.arange(-1, NUM_SYMBOLS - 1, dtype=np.int32)},
        {"order": np.arange(NUM_SYMBOLS, dtype=np.int64)},
        {"symbols": np.ones(NUM_SYMBOLS, dtype=np.uint8)},
        {"symbols": np.full(NUM_SYMBOLS, 200, dtype=np.uint8)},
        {"symbols": np.zeros(NUM_SYMBOLS, dtype=np.uint8)},
        {"symbols": np.zeros((NUM_SYMBOLS, 1), dtype=np.uint8)},
        {"alphabet": np.array([2, 1], dtype=np.uint32)},
        {"alphabet": np.arange(2**30, 2**30 + 12, dtype=np.uint32)},
        {"numbers": np.array([0, 1], dtype=np.uint32)},
        {"numbers": np.array([0, 1, 3], dtype=np.uint32)},
        {"numbers": np.array([0, 1, 1], dtype=np.uint32)},
        {"numbers": np.array([0.0, 1.0, 2.0], dtype=np.float32)},
        {"more": np.zeros(1, dtype=np.int32)},
    ],
)
def test_arrays_that_are_no_index_are_refused(saved: Path, changes: dict[str, Any]) -> None:
    """Sizes, types and what points to something are checked before anything is looked up."""
    with_arrays(saved, changes)
    with pytest.raises(CheckpointError, match="does not hold the index"):
        text_index.load(saved, "text")


def test_a_missing_array_and_a_false_order_are_refused(saved: Path) -> None:
    """Two suffixes that have changed places are enough."""
    order = safetensors.numpy.load((saved / "novelty.safetensors").read_bytes())["order"]
    for at in range(NUM_SYMBOLS - 1):
        order[[at, at + 1]] = order[[at + 1, at]]
        with_arrays(saved, {"order": order})
        with pytest.raises(CheckpointError, match="does not hold the index"):
            text_index.load(saved, "text")
        order[[at, at + 1]] = order[[at + 1, at]]
    with_arrays(saved, {"order": order})
    assert text_index.load(saved, "text").sequences() == FOX
    with_arrays(saved, {}, left_out="order")
    with pytest.raises(CheckpointError, match="does not hold the index"):
        text_index.load(saved, "text")
