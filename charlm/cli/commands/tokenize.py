"""charlm tokenize."""

import typer

from charlm.cli import options
from charlm.cli.input.beginning import read_utf8
from charlm.cli.input.declared import option
from charlm.cli.output.terminal import out, out_json, say, say_loading
from charlm.display.safe_text import safe_text, visible
from charlm.errors import UsageError


def tokenize_cli(
    *,
    text: str = typer.Argument(help="Text to tokenize; - is standard input.", show_default=False),
    target: bool = option("Cut it as a target of a translator, instead of a source.", False),
    asked: options.Model,
    json: bool = options.JSON_OBJECT,
) -> None:
    """Show the tokens and ids of a text.

    The text that they decode to is shown as well.

    \b
    charlm tokenize "Cats average 15 hours of sleep a day."
    charlm tokenize --model numbers --target "forty-two"
    """
    say_loading()
    from charlm.checkpoints import directory
    from charlm.checkpoints.pairs import SOURCE
    from charlm.checkpoints.step import load_tokenizer

    if text == "-":
        text = read_utf8(text)
    path = directory.find(asked.model, asked.root)
    if asked.model is None:
        say(f"model: {path.parent.name}")
    of_pairs = directory.kind_of(path) == "translator"
    if target and not of_pairs:
        raise UsageError(f"{path.parent.name} is no translator: it has no targets.")
    tokenizer = load_tokenizer(path, SOURCE if of_pairs and not target else "")
    ids = tokenizer.encode(text)
    pieces = tokenizer.pieces(ids)
    decoded, offsets = tokenizer.decode_with_offsets(ids)
    if json:
        out_json(
            {
                "text": text,
                "level": tokenizer.level,
                "ids": ids.tolist(),
                "pieces": pieces,
                "offsets": offsets,
                "decoded": decoded,
                "oov_tokens": int((ids == tokenizer.unk_id).sum()),
            }
        )
        return
    for piece, token_id in zip(pieces, ids.tolist(), strict=True):
        out(f"{token_id:>7}  {visible(piece)}\n")
    out(f"{len(ids)} tokens; decoded: {safe_text(decoded)}\n")
