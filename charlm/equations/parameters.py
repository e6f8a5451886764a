"""The parameters of a model as NumPy arrays: their names and shapes, and what they mean.

This is what a checkpoint holds and what every engine is built from; nothing here needs torch.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from charlm.equations.language_model import (
    NUM_GATES,
    NUM_STATES,
    LabelWeights,
    LayerWeights,
    ModelWeights,
)
from charlm.network_config import CausalConfig, ClozeConfig, LanguageConfig

Arrays = Mapping[str, npt.NDArray[np.float32]]

FORWARD, BACKWARD = "layers", "backward_layers"  # the stacks, by the names of their parameters
MISSING = 15  # tokens that may be missing beside the one predicted, each number with its gate
FUSED = ("lstm", "gru", "rnn-tanh", "rnn-relu")  # the cells that torch has kernels for


def shapes(config: LanguageConfig) -> dict[str, tuple[int, ...]]:
    """The name and shape of every parameter of a model, as RecurrentLM.state_dict() has them."""
    hidden, embedding = config.hidden_size, config.embedding_size
    gates = NUM_GATES[config.cell] * hidden
    found: dict[str, tuple[int, ...]] = {"embedding.weight": (config.vocab_size + 1, embedding)}
    label_size = config.label_size if isinstance(config, CausalConfig) else 0
    for stack in (FORWARD, BACKWARD)[: config.DIRECTIONS]:
        for layer in range(config.num_layers):
            below = embedding + label_size if layer == 0 else hidden
            for name, shape in zip(
                layer_names(config.cell, layer, stack),
                ((gates, below), (gates, hidden), (gates,), (gates,), (3, hidden)),
                strict=True,
            ):
                if name is not None:
                    found[name] = shape
    if isinstance(config, ClozeConfig):
        found["gap_gates"] = (MISSING, hidden)
    top = config.DIRECTIONS * hidden  # both directions side by side
    for index in range(config.output_layers):
        found[f"output.{index}.weight"] = (hidden, top)
        found[f"output.{index}.bias"] = (hidden,)
        top = hidden
    width = embedding if config.tie_weights else top
    if width != top:
        found["projection.weight"] = (width, top)
    if not config.tie_weights:
        found["softmax.weight"] = (config.vocab_size, width)
    found["softmax.bias"] = (config.vocab_size,)
    if label_size:
        assert isinstance(config, CausalConfig)
        found["label_embedding.weight"] = (config.num_labels, label_size)
        states = NUM_STATES[config.cell] * hidden
        for layer in range(config.num_layers):
            found[f"first.{layer}.weight"] = (states, label_size)
            found[f"first.{layer}.bias"] = (states,)
    return found


def layer_names(
    cell: str, layer: int, stack: str = FORWARD
) -> tuple[str, str, str, str | None, str | None]:
    """The names of a layer's parameters in the order of LayerWeights; None where it has none."""
    prefix = f"{stack}.{layer}."
    if cell in FUSED:
        weight_ih, weight_hh, bias_ih, bias_hh = (
            f"{prefix}rnn.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        return weight_ih, weight_hh, bias_ih, bias_hh, None
    peephole = f"{prefix}peephole" if cell == "lstm-peephole" else None
    return f"{prefix}weight_ih", f"{prefix}weight_hh", f"{prefix}bias_ih", None, peephole


def model_weights(
    config: LanguageConfig,
    arrays: Arrays,
    dtype: type[np.floating] = np.float64,
    *,
    folded: bool = False,
) -> ModelWeights:
    """The parameters as equations/language_model.py reads them, in single or double precision.

    A projection before the softmax is multiplied into it: two products without a nonlinearity
    between them are one. Of many types it is not, unless it is to be ``folded``, and their
    matrices stay in single precision, which loses nothing: they are made double where they are
    read.
    """
    of_types = np.float32 if config.has_many_types else dtype

    def array(name: str) -> npt.NDArray[np.floating]:
        return np.asarray(arrays[name], dtype=dtype)

    def layers(stack: str) -> tuple[LayerWeights[npt.NDArray[np.floating]], ...]:
        found = []
        for layer in range(config.num_layers):
            names = layer_names(config.cell, layer, stack)
            required, optional = names[:3], names[3:]
            found.append(
                LayerWeights(
                    *(array(name) for name in required),
                    *(None if name is None else array(name) for name in optional),
                )
            )
        return tuple(found)

    embedding = np.asarray(arrays["embedding.weight"], dtype=of_types)
    reads_both = isinstance(config, ClozeConfig)
    softmax = embedding[:-1]
    if not config.tie_weights:
        softmax = np.asarray(arrays["softmax.weight"], dtype=of_types)
    projection = array("projection.weight") if "projection.weight" in arrays else None
    if projection is not None and (folded or not config.has_many_types):
        softmax, projection = softmax @ projection, None
    return ModelWeights(
        embedding=embedding,
        layers=layers(FORWARD),
        output=tuple(
            (array(f"output.{index}.weight"), array(f"output.{index}.bias"))
            for index in range(config.output_layers)
        ),
        softmax_weight=softmax,
        softmax_bias=array("softmax.bias"),
        backward=layers(BACKWARD) if reads_both else (),
        gap_gates=array("gap_gates") if reads_both else None,
        labels=_label_weights(config, array) if "label_embedding.weight" in arrays else None,
        projection=projection,
    )


def _label_weights(
    config: LanguageConfig, array: Callable[[str], npt.NDArray[np.floating]]
) -> LabelWeights:
    return LabelWeights(
        embedding=array("label_embedding.weight"),
        first=tuple(
            (array(f"first.{layer}.weight"), array(f"first.{layer}.bias"))
            for layer in range(config.num_layers)
        ),
    )
