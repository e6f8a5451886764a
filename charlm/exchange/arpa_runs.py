"""Models of charlm as ARPA files, and ARPA files as models.

What is exported has in its comments what turns texts into its words, so it is read back as it was;
any other file is one of words that stand between spaces, in lines.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from charlm.checkpoints.run import Run
from charlm.counts.backoff import BackOff
from charlm.counts.pair_partner import PairPartner
from charlm.errors import CheckpointError, TextError, UsageError
from charlm.exchange import arpa
from charlm.exchange.arpa_words import BEGIN, END, UNKNOWN, ids_of, words_of, words_of_chunks
from charlm.models.language_model import LanguageModel
from charlm.models.translator import Translator
from charlm.text.files import opened
from charlm.tokenizers import tokenizer_from_files
from charlm.tokenizers.base import NUM_SPECIALS, Tokenizer
from charlm.tokenizers.vocabulary import Vocabulary
from charlm.tokenizers.word import WordTokenizer
from charlm.training.counted.alone import files_of
from charlm.training.request import Request, Say

_MARK = "charlm"  # the first word of a comment of ours
_FORMAT = 1


def counts_of(model: LanguageModel | Translator) -> BackOff:
    """The n-grams of a model, beside its network or alone. Raises UsageError if it has none."""
    if isinstance(model, LanguageModel) and model.checkpoint.counts is not None:
        return model.checkpoint.counts
    partner, counts = model.checkpoint.partner, None
    if isinstance(partner, PairPartner):
        counts = partner.joint.counts
    elif partner is not None:
        counts = partner.ngram
    if counts is None:
        raise UsageError(
            f"{model.checkpoint.path.parent.name} has no n-grams: an ARPA file holds those that "
            "training counts with `ngram`."
        )
    return counts


def lines_of(model: LanguageModel | Translator) -> Iterator[str]:
    """The lines of the ARPA file of a model's n-grams. Raises UsageError if it has none."""
    counts, checkpoint = counts_of(model), model.checkpoint
    if isinstance(model, Translator):
        partner = model.checkpoint.partner
        assert partner is not None
        sides = model.checkpoint.source_tokenizer, model.checkpoint.tokenizer
        words = words_of_chunks(partner.joint, *sides)
        yield from arpa.write(counts, words, ["joint n-grams of pairs, by charlm"])
        return
    assert isinstance(model, LanguageModel)
    about = {"format": _FORMAT, "split_on": model.checkpoint.split_on}
    comments = [f"{_MARK} {json.dumps(about)}"]
    for name, data in sorted(checkpoint.tokenizer.to_files().items()):
        comments.append(f"{_MARK} {name} {base64.b64encode(data).decode()}")
    yield from arpa.write(counts, words_of(checkpoint.tokenizer), comments)


def import_arpa(file: str | Path, path: Path, say: Say) -> BackOff:
    """Make a new run, a directory, of the n-grams of a file, packed or not; - is standard input.

    Raises TextError if it is no ARPA file, UsageError if the run exists already.
    """
    Run(path).check_new()
    source = opened(file, say)
    digest = hashlib.sha256()
    found = arpa.read(source.name, _lines(source.chunks, digest.update))
    if (own := _ours(source.name, found)) is not None:
        tokenizer, split_on = own
        words = words_of(tokenizer)
    else:
        words = _words(found, say)  # as they stand: nobody has escaped anything in them
        types = (f"0{word}" for word in words[NUM_SPECIALS:-1])
        tokenizer = WordTokenizer(vocabulary=Vocabulary(types), pretokenized=True)
        split_on = "line"
    if UNKNOWN not in found.words and "<UNK>" not in found.words:
        say("the file has no <unk>: an unknown word gets P = 1e-100, as KenLM gives it")
    if END not in found.words:
        raise TextError(f"{source.name} has no {END}: nothing says how likely a text is to end.")
    counts = arpa.model_of(found, {**ids_of(words), "<UNK>": 0}, tokenizer.vocab_size)
    about = {"imported": {"file": Path(source.name).name, "sha256": digest.hexdigest()}}
    files = files_of(counts, tokenizer, about, split_on=split_on)
    with Run(path) as run:
        run.begin({"request": Request(corpus=(), counts_only=True).to_json(), **about})
        run.keep(0, files, best=None, validated=0, finished=True)
    return counts


def _lines(chunks: Iterable[bytes | None], seen: Callable[[bytes], None]) -> Iterator[bytes]:
    """The lines of a file that comes in chunks."""
    rest = b""
    for chunk in chunks:
        if chunk is None:
            continue
        seen(chunk)
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest


def _ours(name: str, found: arpa.Read) -> tuple[Tokenizer, str] | None:
    """What an exported file tells of its tokens, and what a sequence is; None of another's."""
    told = [rest for mark, _, rest in (c.partition(" ") for c in found.comments) if mark == _MARK]
    if not told:
        return None
    try:
        about = json.loads(told[0])
        pairs = (entry.split(" ") for entry in told[1:])
        files = {name: base64.b64decode(data, validate=True) for name, data in pairs}
        if about["format"] != _FORMAT:
            raise ValueError
        tokenizer, split_on = tokenizer_from_files(files), about["split_on"]
    except (ValueError, TypeError, KeyError, binascii.Error, CheckpointError):
        raise TextError(f"{name} has comments of charlm that do not tell how to read it.") from None
    if set(words_of(tokenizer)) != {*found.words, UNKNOWN, BEGIN}:
        raise TextError(f"{name} does not hold the words that its comments tell of.")
    return tokenizer, split_on


def _words(found: arpa.Read, say: Say) -> list[str]:
    """The words of all ids of another's file, but those that a text would be cut in."""
    names = {BEGIN, END, UNKNOWN, "<UNK>"}
    words = [word for word in found.words if word not in names]
    whole = [word for word in words if len(word.split()) == 1]
    if len(whole) < len(words):
        say(
            f"{len(words) - len(whole):,} words hold white space of Unicode, at which texts are "
            "cut: they are left out"
        )
    if not whole:
        raise TextError("the file has no word but <s>, </s> and <unk>.")
    return [UNKNOWN, END, *whole, BEGIN]
