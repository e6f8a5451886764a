"""Steps of tiny models, made without torch, and changes to their files."""

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

import charlm
from charlm.checkpoints import directory
from charlm.checkpoints import pairs as pairs_checkpoint
from charlm.checkpoints.disk import DISK, Disk
from charlm.checkpoints.files import read_file
from charlm.checkpoints.head import HeadCheckpoint
from charlm.checkpoints.json_objects import parse_json, to_json
from charlm.checkpoints.language_model import Checkpoint, known_to_bytes
from charlm.checkpoints.pairs import PairsCheckpoint
from charlm.checkpoints.step import FORMAT, load_tokenizer, save_step
from charlm.checkpoints.tensors import arrays_to_bytes
from charlm.config import HEADS
from charlm.counts import ngram
from charlm.counts.adaptive import Adaptive
from charlm.counts.cache import Cache
from charlm.counts.interpolation import Partner
from charlm.equations import heads, pairs
from charlm.equations.parameters import shapes
from charlm.errors import CheckpointError
from charlm.inference.labels import Labels
from charlm.inference.unknown import Speller
from charlm.models.cloze_model import ClozeModel
from charlm.models.heads import Classifier, Tagger
from charlm.models.translator import Translator
from charlm.network_config import (
    CausalConfig,
    ClassifierConfig,
    ClozeConfig,
    HeadConfig,
    LanguageConfig,
    PairsConfig,
    TaggerConfig,
)
from charlm.text.corpus import sequence_hashes
from charlm.tokenizers import train_tokenizer
from charlm.tokenizers.character import CharacterTokenizer
from charlm.tokenizers.word_letters import SpelledWords

OTHERS = ("labelled", "bidirectional", "classifier", "tagger", "translator")  # of characters
TEXTS = ["the cat sat on the mat", "a dog ran to the cat", "to be, or not to be?"]


@functools.cache
def tokenizer_files(level: str) -> tuple[int, dict[str, bytes]]:
    """The number of types of a tiny tokenizer, and its files."""
    sizes: dict[str, Any] = {"vocab_size": 300} if level == "subword" else {"min_count": 1}
    tokenizer = train_tokenizer(TEXTS, level=level, **sizes)
    return tokenizer.vocab_size, tokenizer.to_files()


def weights(config: LanguageConfig | HeadConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Random numbers of the shapes of a model."""
    return random_numbers(
        heads.shapes(config) if isinstance(config, HeadConfig) else shapes(config), seed
    )


def random_numbers(parts: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Random numbers of these shapes."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in parts.items()}


def moments_of(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Two moments of each parameter."""
    return {f"{key}.{name}": arrays[name] for key in ("exp_avg", "exp_avg_sq") for name in arrays}


def files_of(level: str = "char", *, step: int = 1, seed: int = 0) -> dict[str, bytes]:
    """All files of a step with a random model; a word model has a speller.

    One of a level has a partner and can adapt; instead of a level there may be one of OTHERS.
    """
    if level in HEADS:
        return _files_of_head(level, step, seed)
    if level == "translator":
        return _files_of_translator(step, seed)
    vocab_size, tokenizer = tokenizer_files("char" if level in OTHERS else level)
    shape = {"vocab_size": vocab_size, "hidden_size": 4, "embedding_size": 3}
    config: LanguageConfig
    if level == "bidirectional":
        config = ClozeConfig(**shape)
    else:
        labels = {"num_labels": 3, "label_size": 2} if level == "labelled" else {}
        config = CausalConfig(**shape, **labels)
    about = {
        "format": FORMAT,
        "step": step,
        "split_on": "line",
        "model": config.to_json(),
    }
    arrays = weights(config, seed)
    moments = moments_of(arrays)
    files = {
        "model.json": to_json(about),
        "model.safetensors": arrays_to_bytes(arrays),
        **tokenizer,
        "known.safetensors": known_to_bytes(sequence_hashes(TEXTS)),
        "training.json": to_json({"step": step}),
        "training.safetensors": arrays_to_bytes(moments),
    }
    if level == "labelled":
        labels = Labels(names=("a", "b", "c"), counts=(5, 2, 1), temperature=1.5)
        files["labels.json"] = to_json(labels.to_json())
    if level in OTHERS:
        return files
    sequences = [np.array([*range(2, min(vocab_size, 9)), 1])]
    counts = ngram.train(sequences, vocab_size, 3)
    partner = Partner.new(counts, Cache(vocab_size, (1, 2), 10))
    files["partner.json"] = to_json(partner.to_json())
    files["ngram.safetensors"] = arrays_to_bytes(partner.to_arrays())
    letters = np.zeros(vocab_size, dtype=np.int64)
    adaptive = Adaptive.new(level, letters, partner, 1, sequences[0])
    files["adaptive.json"] = to_json(adaptive.to_json())
    files["adaptive.safetensors"] = arrays_to_bytes(adaptive.to_arrays())
    if level == "word":
        characters = CharacterTokenizer.train(TEXTS)
        small = CausalConfig(vocab_size=characters.vocab_size, hidden_size=3, embedding_size=3)
        speller = Speller(
            config=small, weights=weights(small, seed), tokenizer=characters, log_known=-0.5
        )
        files["speller.json"] = to_json(speller.to_json())
        files["speller.safetensors"] = arrays_to_bytes(speller.weights)
    return files


def _files_of_translator(step: int, seed: int) -> dict[str, bytes]:
    tokenizers = [train_tokenizer(texts, level="char", min_count=1) for texts in (TEXTS, ["abc"])]
    source, target = tokenizers
    config = PairsConfig(
        vocab_size=target.vocab_size,
        source_vocab_size=source.vocab_size,
        hidden_size=4,
        embedding_size=3,
    )
    arrays = random_numbers(pairs.shapes(config), seed)
    return {
        "model.json": to_json(
            {
                "format": FORMAT,
                "kind": "translator",
                "step": step,
                "model": config.to_json(),
                "best_accuracy": 0.5,
                "best_loss_nats_per_token": 1.5,
            }
        ),
        "model.safetensors": arrays_to_bytes(arrays),
        **pairs_checkpoint.tokenizer_files(source, target),
        "training.json": to_json({"step": step}),
        "training.safetensors": arrays_to_bytes(moments_of(arrays)),
    }


def _files_of_head(kind: str, step: int, seed: int) -> dict[str, bytes]:
    vocab_size, reader = tokenizer_files("char")
    config: HeadConfig
    shape = {"num_labels": 3, "hidden_size": 4, "embedding_size": 3}
    if kind == "tagger":
        spelled = SpelledWords.train(" ".join(TEXTS).split(), vocab_size=None, min_count=1)
        letters = {"letter_embedding_size": 2, "letter_hidden_size": 2}
        config = TaggerConfig(
            vocab_size=spelled.vocab_size, num_letters=spelled.num_letters, **letters, **shape
        )
        reader = {"tagger.json": to_json(spelled.to_json())}
    else:
        config = ClassifierConfig(vocab_size=vocab_size, **shape)
    about = {
        "format": FORMAT,
        "kind": kind,
        "step": step,
        "labels": ["B-X", "I-X", "O"],
        "temperature": 1.5,
        "model": config.to_json(),
        "text": {"split_on": "line"},
    }
    arrays = weights(config, seed)
    moments = moments_of(arrays)
    return {
        "model.json": to_json(about),
        "model.safetensors": arrays_to_bytes(arrays),
        **reader,
        "training.json": to_json({"step": step}),
        "training.safetensors": arrays_to_bytes(moments),
    }


def save_and_rotate(
    run: Path,
    step: int,
    files: dict[str, bytes] | None = None,
    disk: Disk = DISK,
) -> None:
    """What a run does when it saves: the step, the pointers, a line of the log, what is old."""
    files = files or files_of(step=step, seed=step)
    save_step(run, step, files, disk=disk)
    pointers = {"latest": step, "best": step, "finished": False}
    directory.write_json(run / "pointers.json", pointers, disk)
    directory.append_line(run / "metrics.jsonl", json.dumps({"step": step}), disk)
    directory.remove_steps(run, {step}, disk)


def read_all(path: Path) -> None:
    """Load everything that can be loaded of a step, of whatever kind it says it is."""
    loaded = load(path)
    loaded.load_training()
    if isinstance(loaded, Checkpoint):
        load_tokenizer(path)


def load(path: Path) -> Checkpoint | HeadCheckpoint | PairsCheckpoint:
    """The model of a step, of whatever kind it says it is."""
    try:
        kind = parse_json(path, read_file(path / "model.json", 2**22)).get("kind")
    except CheckpointError:
        kind = None
    if kind == "translator":
        return PairsCheckpoint.load(path)
    return HeadCheckpoint.load(path) if kind in HEADS else Checkpoint.load(path)


def use(step: Path) -> object:
    """Let a model of whatever kind do what it is for."""
    loaded = load(step)
    if isinstance(loaded, HeadCheckpoint):
        if loaded.config.kind == "classifier":
            return Classifier(loaded).classify(["the cat, ▁ é", ""]).sum()
        return Tagger(loaded).tag([["the", "cat", "é"], []])
    if isinstance(loaded, PairsCheckpoint):
        translator = Translator(loaded)
        translator.score("the cat, ▁ é", "abc é")
        return translator.translate("the cat é", max_tokens=5)
    model = charlm.load(step)
    if isinstance(model, ClozeModel):
        model.pseudo_score("the cat, ▁ é")
        return model.fill("the [?] é", top=2)
    model.score("the cat, ▁ é")
    return model.labels is None or model.log_posteriors(["the cat"]).sum()


def write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """A manifest that vouches for itself, whatever it says."""
    manifest = {key: value for key, value in manifest.items() if key != "sha256"}
    digest = hashlib.sha256(to_json(manifest)).hexdigest()
    (path / "manifest.json").write_bytes(to_json({**manifest, "sha256": digest}))


def read_manifest(path: Path) -> dict[str, Any]:
    """What stands in a manifest."""
    return dict(json.loads((path / "manifest.json").read_bytes()))


def forge(path: Path, **changed: bytes | None) -> None:
    """Change files of a step (None takes one away), the manifest made to fit.

    ``model_json`` stands for model.json; names with a dot are taken as they are.
    """
    manifest = read_manifest(path)
    for key, data in changed.items():
        name = key if "." in key else key.replace("_", ".")
        if data is None:
            (path / name).unlink()
            del manifest["files"][name]
            continue
        (path / name).write_bytes(data)
        manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    write_manifest(path, manifest)
