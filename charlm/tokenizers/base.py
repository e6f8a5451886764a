"""The Tokenizer protocol: what a text is to everything that knows only token ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Sequence

    from charlm.tokenizers.beginning import Beginning
    from charlm.tokenizers.ids import IdArray, Ids

LEVELS = ("char", "word", "subword")
SubwordModel: TypeAlias = Literal["unigram", "bpe"]
NormalForm: TypeAlias = Literal["NFC", "NFD", "NFKC", "NFKD"]  # of Unicode
SUBWORD_MODELS: tuple[SubwordModel, ...] = get_args(SubwordModel)
NORMAL_FORMS: tuple[NormalForm, ...] = get_args(NormalForm)
# What a tokenizer may not tell apart; texts that differ in nothing else are one to its model.
CASE, SPACING = "case", "spacing"
FORMS: dict[str, str] = {
    form: f"{'compatible' if 'K' in form else 'canonical'} forms" for form in NORMAL_FORMS
}
UNK_ID = 0
EOS_ID = 1
NUM_SPECIALS = 2
NUM_BYTES = 256  # types that spell a character at subword level
UNK_PIECE = "<UNK>"  # how the specials are shown; no text is ever matched against these
EOS_PIECE = "<EOS>"
UNK_TEXT = "\ufffd"  # what <UNK> becomes in decoded text


class Tokenizer(Protocol):
    """Text to token ids and back.

    Ids are int32 in [0, vocab_size). <UNK> is 0 and <EOS> is 1 at every level; neither is a
    string, so "<UNK>" or "</s>" typed in a text is plain text.
    """

    @property
    def level(self) -> str:
        """What a token is: "char", "word" or "subword"."""

    @property
    def vocab_size(self) -> int:
        """Number of types, <UNK> and <EOS> included."""

    @property
    def unk_id(self) -> int:
        """The id of <UNK>, always 0."""

    @property
    def eos_id(self) -> int:
        """The id of <EOS>, always 1."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What training decided that its caller may want to hear; empty once loaded."""

    @property
    def ignores(self) -> tuple[str, ...]:
        """In what texts can differ that are cut into the same tokens: CASE, SPACING, of FORMS.

        Where it is empty, and what is unknown is spelled, a model gives each text a probability of
        its own; else one to all texts of one normalise(text) together.
        """

    def normalise(self, text: str) -> str:
        """The text as far as the tokens keep it: decode(encode(text)) if every type is known."""

    def encode(self, text: str) -> IdArray:
        """The ids (N,) of a text. <EOS> is never added."""

    def encode_with_offsets(self, text: str) -> tuple[IdArray, list[tuple[int, int]]]:
        """The ids (N,) of a text, and for each the half-open range it has in that very text.

        Ranges follow one another; at word level spaces may lie between them, and at subword
        level the bytes of one character share its range.
        """

    def unknown(self, text: str) -> list[str]:
        """What stands in the text wherever encode gives <UNK>, in order.

        A character at char level; at word level a type, the flag of its joins in front, or the
        name of all unknown words (UNKNOWN_WORD); at subword level there is nothing unknown.
        """

    def is_unknown(self, kind: str) -> bool:
        """Whether <UNK> can be spelled so: it has no id, and texts are cut into it."""

    def openers(self) -> IdArray:
        """The ids (K,) of the types that come only once a word has ended.

        They are white space, what brings white space with it, and <EOS>.
        """

    def divide(self, text: str) -> tuple[str, str]:
        """A beginning of the text that no more text could change, and the rest.

        For every s, encode(text + s) is encode(beginning) and encode(rest + s), and the same is
        true of what is unknown. So a long text can be encoded in pieces. An implicit space (word
        level) that stands between the two is in neither. Where there is no place to divide a
        text the beginning is empty; if possible it ends between two words.
        """

    def encode_prompt(self, text: str) -> IdArray:
        """The ids (N,) of a text that is to be continued.

        As encode, but where tokens bring their own space (word and subword level) one trailing
        space is left out, if there is text before it that the next token can follow.
        """

    def beginnings(self, text: str) -> list[Beginning]:
        """The ways to cut a text that goes on, nobody knows how.

        Every text that begins with this one, and is cut as ``encode`` cuts, goes one of these
        ways, and only one.
        """

    def decode(self, ids: Ids, unknown: Sequence[str] = ()) -> str:
        """The text of ids (N,): <UNK> becomes U+FFFD, <EOS> becomes nothing.

        ``unknown`` is what the first of the <UNK> stand for, in order, each as the method of that
        name gives it: decode(encode(text), unknown(text)) is normalise(text) for every text.
        Raises UsageError if an id is outside the vocabulary.
        """

    def decode_with_offsets(self, ids: Ids) -> tuple[str, list[tuple[int, int]]]:
        """The decoded text, and for each id the half-open range of its characters in it.

        An implicit space (word level) lies in no range; the byte pieces of one character
        (subword level) share its range; <EOS> has an empty range. Raises UsageError if an id is
        outside the vocabulary.
        """

    def pieces(self, ids: Ids) -> list[str]:
        """Each token of ids (N,) in a readable form, for display only.

        Raises UsageError if an id is outside the vocabulary.
        """

    def to_files(self) -> dict[str, bytes]:
        """The files that tokenizer_from_files reads back, by name."""
