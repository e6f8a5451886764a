"""Laws of the curves of a training: what metrics.jsonl holds, and what clipping did."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from charlm.errors import CheckpointError
from charlm.inspection.curves import clipping, curves

GOLDEN = Path(__file__).parents[1] / "golden" / "finished"


@pytest.mark.parametrize("run", sorted(path.name for path in GOLDEN.iterdir()))
def test_curves_are_the_lines_of_the_file(run: str) -> None:
    """Of every kind of model: a value for each line, nan where the line has none."""
    found = curves(GOLDEN / run)
    rows = [json.loads(line) for line in (GOLDEN / run / "metrics.jsonl").read_text().splitlines()]
    assert found.run == run
    assert found.unit == ("label" if run in ("classifier", "tagger") else "token")
    for values, name in (
        (found.step, "step"),
        (found.seconds, "seconds"),
        (found.tokens, "tokens"),
        (found.training_loss, f"train_loss_nats_per_{found.unit}"),
        (found.validation_loss, f"valid_loss_nats_per_{found.unit}"),
        (found.learning_rate, "learning_rate"),
        (found.gradient_norm, "grad_norm"),
    ):
        expected = [row.get(name, math.nan) for row in rows]
        np.testing.assert_array_equal(values, np.array(expected, dtype=float), err_msg=name)
    assert np.isfinite(found.validation_loss).all()


def test_clipping_is_what_the_norms_say(tmp_path: Path) -> None:
    """The share of noted norms above the limit; None where none were noted."""
    (tmp_path / "run.json").write_text('{"training": {"max_grad_norm": 1.0}}')
    rows = [{"step": at, "grad_norm": norm} for at, norm in enumerate((0.5, 1.0, 2.0, None, 8.0))]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    found = clipping(tmp_path)
    assert found == (1.0, 4, 0.5, 1.5, 8.0)
    assert clipping(GOLDEN / "classifier") is None


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    """Half a line at the end is no damage; elsewhere it is, and so is a file without any."""
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(CheckpointError, match="cannot be read"):
        curves(tmp_path)
    path.write_text('{"step": 1}\n{"st')
    assert curves(tmp_path).step.tolist() == [1]
    for text, said in (('{"st\n{"step": 1}\n', "line 1 is damaged"), ("", "nothing yet")):
        path.write_text(text)
        with pytest.raises(CheckpointError, match=said):
            curves(tmp_path)
