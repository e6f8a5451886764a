"""Laws of how objects show themselves: in a line, and in a notebook as HTML."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from charlm.models.load import load
from charlm.models.mixtures import mix
from charlm.training.train import train
from tests.support.tiny import material_of, trained_run

TEXT = "the <cat> & \x1b[31m"


class Balanced(HTMLParser):
    """Reads HTML: every element is closed, and the text is what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """One more that has to be closed."""
        assert tag not in ("script", "style", "link")
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """The last one that was opened."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """What is read."""
        self.text += data


def read(html: str) -> str:
    """The text of HTML that is well formed."""
    reader = Balanced()
    reader.feed(html)
    reader.close()
    assert not reader.open
    assert "\x1b" not in html
    return reader.text


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny model."""
    home = tmp_path_factory.mktemp("home")
    return load(trained_run(home / "plain", material=material_of(), num_steps=1))


def test_a_score_is_a_heat_map(lm: Any) -> None:
    """Its text stands there, shaded where its tokens or words were asked for, and its figures."""
    for options in ({"per_token": True}, {"words": True}, {}):
        score = lm.score(TEXT, **options)
        text = read(score._repr_html_())
        assert "the <cat> &" in text
        assert "\\x1b[31m" in text
        assert ("background:" in score._repr_html_()) == bool(options)
        assert "log P" in text
        assert "perplexity" in text
    assert read(mix([lm, lm])._repr_html_()).startswith("TokenMixture")


def test_a_pseudo_score_goes_by_names_of_its_own(tmp_path: Path) -> None:
    """No figure of it is called a log-probability."""
    shape = {"bidirectional": True}
    cloze: Any = load(trained_run(tmp_path / "sides", material=material_of(), shape=shape))
    for options in ({"per_token": True}, {}):
        text = read(cloze.pseudo_score(TEXT, **options)._repr_html_())
        assert "PLL" in text
        assert "pseudo-perplexity" in text
        assert "log P" not in text
    assert "1-layer lstm" in read(cloze._repr_html_())


def test_a_model_is_its_card(lm: Any) -> None:
    """Its run, vocabulary, network and parameters; repr is a line that names the run."""
    text = read(lm._repr_html_())
    for part in ("plain (step 1)", "types at char level", "1-layer lstm", f"{lm.num_parameters:,}"):
        assert part in text
    kinds = {"texts": ["a a", "b b", "a b"] * 3, "labels": ["x", "<y>", "x"] * 3}
    classifier = train(task="classifier", hidden=4, steps=2, **kinds)
    assert "<y>, x" in read(classifier._repr_html_())
    both = mix([lm, lm])
    for model in (lm, classifier, both, lm.score("a cat", per_token=True)):
        assert len(repr(model).splitlines()) == 1
        assert len(repr(model)) < 200
    assert "plain" in repr(lm)
    assert repr(both) == "TokenMixture(0.5 plain, 0.5 plain)"
