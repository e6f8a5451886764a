"""Laws of results in a notebook: each shows itself, all it holds is text, nothing is left open."""

from pathlib import Path
from typing import Any

import pytest

from charlm.inspection import curves, embedding, gradient, units
from charlm.inspection.context import context_use
from charlm.inspection.gates import gates
from charlm.inspection.pairs import Pair, judge
from charlm.models.language_model import LanguageModel
from tests.support.inspected import partnered, random_lm
from tests.support.markup import read
from tests.support.tiny import TEXTS, material_of, trained_run

TEXT = "the cat <script> & \x1b[31m\nran"
SHOWN = "the cat <script> & \\x1b[31m"


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    """A model of random weights with two layers."""
    return random_lm("char", num_layers=2)


def shown(found: Any) -> str:
    """The text of what a result shows of itself."""
    return read(found._repr_html_()).text


def test_activations_and_gates_show_their_tokens(lm: LanguageModel) -> None:
    """Layer by layer, with what is not visible written out."""
    found = lm.activations(TEXT)
    text = shown(found)
    assert f"{len(found.ids)} inputs, 2 layers" in text
    for name in ("|h| 1", "|h| 2", "forget 2", "<UNK>"):
        assert name in text
    text = shown(gates(lm, TEXT))
    assert SHOWN in text
    assert "layer 2" in text
    assert "above 0.9" in text


def test_units_show_a_text(lm: LanguageModel) -> None:
    """Those that follow a feature, one along a text, and those of a span."""
    found = units.read(lm, [TEXT, *TEXTS])
    ranked = units.following(found)
    text = shown(ranked)
    assert str(ranked.ranked[0].unit) in text
    assert SHOWN in text
    assert SHOWN in shown(units.unit_along(found, units.Unit("h", 1, 2)))
    of_chars = {char: units.of_span(found, char, threshold=0.0) for char in "the ca"}
    char, spans = next((char, one) for char, one in of_chars.items() if one.units)
    assert f"⟦{char}⟧" in shown(spans)
    assert "No unit" in shown(units.of_span(found, "cat", threshold=2.0))
    assert "Nothing varies" in shown(units.following(found, {}))


def test_pictures_of_lines_name_their_models(lm: LanguageModel, tmp_path: Path) -> None:
    """Gradients alone and together, use of context with a partner, curves of runs."""
    one = gradient.gradient(lm, TEXTS, distances=5, positions=9)
    both = gradient.together(one, one._replace(model="<b>"))
    assert "planted" in shown(one)
    assert "<b>, states" in shown(both)
    found = context_use(partnered("char"), TEXTS, lengths=(1, 2), positions=9)
    for name in ("network", "n-grams", "network and cache", "model"):
        assert name in shown(found)
    trained_run(tmp_path / "run<1>", material=material_of(valid=["the cat ran"]), num_steps=9)
    run = curves.curves(tmp_path / "run<1>")
    assert "Training of run<1>" in shown(run)
    assert "run<1>, run<1>" in shown(curves.together(run, run))


def test_pairs_and_embeddings_show_themselves(lm: LanguageModel) -> None:
    """Categories with their shares; a type among its neighbours."""
    found = judge(lm, [Pair("the cat", "eht tac", "<c>"), Pair("tac", TEXT)])
    assert "<c>, model: " in shown(found)
    near = embedding.neighbourhood(lm, "e", top=3)
    assert "e and its neighbours" in shown(near)
    assert "cosine" in shown(near)
    assert "A map of types" in shown(near.map)
    assert near.map.pieces[0] == "e"
    assert near.cosines[0] == 1
    assert set(near.map.ids) <= {*near.wide.ids}
