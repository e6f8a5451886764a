"""Writing a model as ONNX graphs, with all that it takes to run them."""

import importlib.util
import json
from pathlib import Path

from charlm.errors import UsageError
from charlm.exchange.files import check_new, write_directory
from charlm.exchange.graphs import checking, heads, language_models, pairs
from charlm.exchange.graphs.parts import Made
from charlm.exchange.graphs.readme import readme
from charlm.models.cloze_model import ClozeModel
from charlm.models.engine_choice import check_network
from charlm.models.heads import Classifier, Tagger
from charlm.models.language_model import LanguageModel
from charlm.models.load import AnyModel
from charlm.models.translator import Translator
from charlm.network_config import CausalConfig, ClozeConfig

_NEEDED = ("onnx", "onnxruntime")


def export_onnx(model: AnyModel, directory: Path) -> float:
    """Write a model into a new directory: graphs, tokenizer, labels, README.

    It is compared with the equations first; returns how far it is off at worst, in nats. Raises
    UsageError if the directory is not empty or the packages that this needs are not there,
    CharlmError if the graphs are not exact, or the disk refuses.
    """
    check_new(directory)
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise UsageError(
            f"this needs {' and '.join(missing)}: pip install 'charlm[onnx]' brings them."
        )
    graphs, deviation = graphs_of(model)
    files = {name: made.data for name, made in graphs.items()}
    files |= _reader_files(model)
    files["README.md"] = readme(model, graphs, deviation).encode()
    write_directory(directory, files)
    return deviation


def graphs_of(model: AnyModel) -> tuple[dict[str, Made], float]:
    """The graphs of a model's network, by the names of their files, and how far they are off.

    Raises UsageError for a model of counts alone.
    """
    weights = model.checkpoint.weights
    if isinstance(model, Translator):
        shape = model.checkpoint.config
        graphs = pairs.translator(shape, weights)
        return graphs, checking.translator(shape, weights, checking.sessions(graphs))
    if isinstance(model, Classifier | Tagger):
        config, temperature = model.checkpoint.config, model.checkpoint.temperature
        graphs = heads.head(config, weights, temperature)
        runs = checking.sessions(graphs)
        return graphs, checking.head(config, weights, temperature, runs)
    check_network(model.checkpoint)
    network = model.checkpoint.config
    if isinstance(model, ClozeModel):
        assert isinstance(network, ClozeConfig)
        graphs = language_models.cloze(network, weights)
        return graphs, checking.cloze(network, weights, checking.sessions(graphs))
    assert isinstance(network, CausalConfig)
    graphs = language_models.causal(network, weights)
    return graphs, checking.causal(network, weights, checking.sessions(graphs))


def _reader_files(model: AnyModel) -> dict[str, bytes]:
    """What turns texts into ids, and ids into labels."""
    files: dict[str, bytes] = {}
    tokenizer = model.checkpoint.tokenizer
    if tokenizer is not None:
        files |= tokenizer.to_files()
    if isinstance(model, Translator):
        source = model.checkpoint.source_tokenizer.to_files()
        files |= {f"source_{name}": data for name, data in source.items()}
    if isinstance(model, Tagger):
        assert model.checkpoint.words is not None
        files["words.json"] = _json(model.checkpoint.words.to_json())
    if isinstance(model, Classifier | Tagger):
        files["labels.json"] = _json(list(model.checkpoint.labels))
    elif isinstance(model, LanguageModel) and model.labels is not None:
        files["labels.json"] = _json(list(model.labels.names))
    return files


def _json(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()
