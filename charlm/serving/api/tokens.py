"""Texts as token ids and back, as vLLM's server tells them and lm-evaluation-harness asks."""

from typing import Any

from charlm.errors import UsageError
from charlm.serving.api.schema import Body, Field, Flag, Ids, Text
from charlm.serving.models import Served
from charlm.serving.problems import RequestError
from charlm.serving.settings import Limits
from charlm.tokenizers.base import EOS_PIECE

_MODEL = Field("model", Text(), "Name of the model; the first one without.", None)
_TARGET = Field("target", Flag(), "Cut it as a target of a translator.", False)

TOKENIZE = Body(
    "Tokenize",
    "The token ids of a text.",
    (
        _MODEL,
        Field("prompt", Text(), "Text to cut into tokens."),
        Field("add_special_tokens", Flag(), "Has no effect: no token stands in front.", False),
        Field("return_token_strs", Flag(), "Tell the tokens as well.", False),
        _TARGET,
    ),
)
DETOKENIZE = Body(
    "Detokenize",
    "The text of token ids.",
    (_MODEL, Field("tokens", Ids(), "Token ids."), _TARGET),
)


def info(served: Served) -> dict[str, Any]:
    """What there is to say of a model's tokenizer."""
    tokenizer = served.tokenizer()
    return {
        "model": served.name,
        "level": tokenizer.level,
        "vocab_size": tokenizer.vocab_size,
        "eos_token": EOS_PIECE,
        "eos_token_id": tokenizer.eos_id,
        "bos_token": None,
        "unk_token_id": tokenizer.unk_id,
    }


def tokenized(served: Served, given: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """The ids of a text.

    The name of <EOS> by itself is its id, for a client that looks for that; within a text it is
    plain text, as everywhere.
    """
    tokenizer = served.tokenizer(target=given["target"])
    text = given["prompt"]
    ids = [tokenizer.eos_id] if text == EOS_PIECE else tokenizer.encode(text).tolist()
    pieces = tokenizer.pieces(ids) if given["return_token_strs"] else None
    return {
        "tokens": ids,
        "count": len(ids),
        "max_model_len": limits.prompt,
        "token_strs": pieces,
    }


def detokenized(served: Served, given: dict[str, Any]) -> dict[str, Any]:
    """The text of ids. Raises RequestError if one is outside the vocabulary."""
    tokenizer = served.tokenizer(target=given["target"])
    try:
        return {"prompt": tokenizer.decode(given["tokens"])}
    except UsageError as error:
        raise RequestError(400, str(error), param="tokens") from None
