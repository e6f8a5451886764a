"""Laws of models that are shared: they are read back as they were, and by other libraries."""

import importlib.util
import itertools
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import charlm
from charlm.checkpoints.language_model import Checkpoint
from charlm.errors import CheckpointError
from charlm.exchange.hub.card import card
from charlm.exchange.hub.export import export_hub
from charlm.exchange.hub.tokenizer_json import tokenizer_json
from charlm.tokenizers import train_tokenizer
from tests.support.cli import bad, good
from tests.support.tiny import TEXTS

HAS_TOKENIZERS = importlib.util.find_spec("tokenizers") is not None
needs_tokenizers = pytest.mark.skipif(not HAS_TOKENIZERS, reason="the package is not installed")
SOME = [*TEXTS, *(f"{a} {b}" for a, b in itertools.permutations(TEXTS[:4], 2))]
TINY: dict[str, Any] = {"seed": 0, "valid_share": 0.2}
NET = {**TINY, "steps": 3, "hidden": 8}
LABELS = ["cat" if "cat" in text else "dog" for text in SOME]
TRAININGS: dict[str, dict[str, Any]] = {
    "char": {**NET, "texts": SOME, "ngram": 3, "cache": True},
    "word": {**NET, "texts": SOME, "level": "word"},
    "labelled": {**NET, "texts": SOME, "labels": LABELS},
    "counts": {**TINY, "texts": SOME, "ngram": 3, "counts_only": True, "level": "word"},
    "cloze": {**NET, "texts": SOME, "task": "cloze"},
    "classifier": {**NET, "texts": SOME, "labels": LABELS, "task": "classifier"},
    "tagger": {
        **NET,
        "texts": [text.split() for text in SOME],
        "labels": [["A" if word == "cat" else "B" for word in text.split()] for text in SOME],
        "task": "tagger",
    },
    "translator": {
        **NET,
        "texts": SOME,
        "labels": [text[::-1] for text in SOME],
        "task": "translator",
        "ngram": 2,
    },
}
SAYS: dict[str, Callable[[Any], Any]] = {
    "cloze": lambda model: model.pseudo_score("a cat").pseudo_log_likelihood,
    "classifier": lambda model: model.classify(["a cat"]).tolist(),
    "tagger": lambda model: [one.tolist() for one in model.log_probs([["a", "cat"]])],
    "translator": lambda model: model.score("a cat", "tac a").total_log_prob,
}


def of_text(model: Any) -> Any:
    """What a model of texts says."""
    return model.score("a zebra sat").total_log_prob


@pytest.mark.parametrize("kind", TRAININGS)
def test_what_is_shared_is_read_back(kind: str, tmp_path: Path) -> None:
    """Bit for bit, by the path of the directory; the weights by safetensors, too."""
    model: Any = charlm.train(**TRAININGS[kind])
    export_hub(model, tmp_path / "shared")
    says = SAYS.get(kind, of_text)
    back: Any = charlm.load(tmp_path / "shared")
    assert says(back) == says(model)
    assert type(back) is type(model)
    files = {
        str(path.relative_to(tmp_path / "shared")) for path in (tmp_path / "shared").rglob("*")
    }
    assert not any(re.search("training|known|novelty", name) for name in files)
    if kind == "counts":
        assert not any("model.safetensors" in name for name in files)
    else:
        assert sorted(name for name in files if "model.safetensors" in name) == [
            "model.safetensors"
        ]
        weights = load_file(tmp_path / "shared" / "model.safetensors")
        assert weights.keys() == model.checkpoint.weights.keys()
        for name, array in model.checkpoint.weights.items():
            assert np.array_equal(weights[name], array)
    config = json.loads((tmp_path / "shared" / "config.json").read_text())
    assert config["model_type"] == "charlm"
    assert config["vocab_size"] == model.checkpoint.config.vocab_size


def test_damage_is_told(tmp_path: Path) -> None:
    """Weights that are not those that were shared are refused, and so are missing ones."""
    model: Any = charlm.train(**TRAININGS["char"])
    export_hub(model, tmp_path / "shared")
    weights = tmp_path / "shared" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        charlm.load(tmp_path / "shared")
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        charlm.load(tmp_path / "shared")
    (step,) = (tmp_path / "shared").glob("step-*")
    with pytest.raises(CheckpointError):
        Checkpoint.load(step)


def test_the_card_tells_what_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes, figures, how it is loaded; and asks for what only people know."""
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("\n".join(SOME))
    good("train", "corpus.txt", "--name", "poems", "--steps", "2", "--hidden", "8", "-q")
    assert "fill in what it leaves open" in good("export", "poems", "--hf", "shared").err
    text = Path("shared/README.md").read_text()
    header, body = text.split("---\n")[1:]
    assert "library_name: charlm" in header
    assert "pipeline_tag: text-generation" in header
    lm = charlm.load("poems", task="language-model")
    assert f"| parameters | {lm.num_parameters:,} |" in body
    loss = lm.checkpoint.info["best_loss_nats_per_token"]
    assert f"| validation loss | {loss:.4f} nats per token |" in body
    assert 'charlm.load("shared")' in body
    assert body.count("(fill in)") >= 3
    printed = good("info", "poems", "--card").out
    assert printed == card(lm)
    assert printed.replace("checkpoints/poems", "shared") == text
    assert "holds something already" in bad(2, "export", "poems", "--hf", "shared")
    assert "not both" in bad(2, "info", "poems", "--card", "--json")
    assert (
        good("score", "--model", "shared", "a cat").out
        == good("score", "--model", "poems", "a cat").out
    )


ODD = [
    "",
    " ",
    "a  b",
    "\n",
    "x\ty\u00a0z\u2003w\x1cv\x85u",
    "naïve 你好 ☃\U0001f600",
    "<UNK> <EOS>",
]
ODD += ["<UNK> <EOS>", "<unk> </s>", "e\u0301 \u200d", "the\u3000cat", "İ ß Σ"]


def texts_of(seed: int) -> list[str]:
    """Texts of known and unknown characters, in words and without."""
    draw = random.Random(seed)
    letters = "abcdehimnorst  .,:\n'你\u00e9☃"
    made = ["".join(draw.choices(letters, k=draw.randint(0, 40))) for _ in range(300)]
    return [*SOME, *ODD, *made]


EXACT: dict[str, dict[str, Any]] = {
    "char": {"level": "char"},
    "cut": {"level": "word", "pretokenized": True},
    "unigram": {"level": "subword", "vocab_size": 300},
    "bpe": {"level": "subword", "vocab_size": 300, "subword_model": "bpe"},
}


@needs_tokenizers
@pytest.mark.parametrize("kind", EXACT)
def test_both_libraries_cut_alike(kind: str, tmp_path: Path) -> None:
    """The same ids of any text, and the text back."""
    import tokenizers

    tokenizer = train_tokenizer([*SOME, *ODD], **EXACT[kind])
    found, said = tokenizer_json(tokenizer)
    assert found is not None, said
    (tmp_path / "tokenizer.json").write_text(json.dumps(found))
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in [*texts_of(1), *(["<0x41>"] if kind in ("char", "cut") else [])]:
        assert theirs.encode(text).ids == tokenizer.encode(text).tolist(), text
    if kind != "cut":
        text = "the cat sat"
        assert theirs.decode(theirs.encode(text).ids) == text


@pytest.mark.parametrize(
    "options",
    [
        {"level": "word"},
        {"level": "word", "pretokenized": True, "lowercase": True},
        {"level": "char", "normalize": "NFC"},
    ],
)
def test_what_cannot_be_expressed_is_left_out(options: dict[str, Any]) -> None:
    """And said."""
    found, said = tokenizer_json(train_tokenizer(SOME, **options))
    assert found is None
    assert said.startswith("no tokenizer.json")
