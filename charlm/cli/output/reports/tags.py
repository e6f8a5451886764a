"""Tags: sentences with theirs, and how many tags and whole spans were right."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from charlm.cli.output.terminal import out_json, out_line, say
from charlm.display.safe_text import safe_text
from charlm.text.conll import Sentence, Table, are_chunks, spans

if TYPE_CHECKING:
    from charlm.inference.tag_scores import TagScores
    from charlm.models.heads import Tagger
    from charlm.text.streaming import Line


class TagWriter:
    """Tags the sentences of lines, and writes them; a line that is raw is a sentence."""

    def __init__(self, tagger: "Tagger", table: Table, *, raw: bool, json: bool) -> None:
        self._tagger, self._table = tagger, table
        self._raw, self._json = raw, json
        self._number = 1  # of the next line

    def write(self, lines: "Sequence[Line]") -> None:
        """Tag and write a portion."""
        if self._raw:
            self._write_raw(lines)
        else:
            self._write_table(lines)

    def _write_table(self, lines: "Sequence[Line]") -> None:
        table, is_begun = self._table, self._table.width is not None
        numbered = list(enumerate(lines, self._number))
        self._number += len(lines)
        found = list(table.sentences((number, line.text) for number, line in numbered))
        if self._json:
            self._write_json(found)
            return
        if table.names is not None and not is_begun:
            say(f"CoNLL-U: tags go into its column {table.names[table.tag]}")
        tag_of = {
            number: tag
            for sentence, tags in zip(found, self._tags(found), strict=True)
            for number, tag in zip(sentence.numbers, tags, strict=True)
        }
        for number, line in numbered:
            text = table.written(line.text, tag_of[number]) if number in tag_of else line.text
            out_line(text, line.ending or "\n")

    def _write_raw(self, lines: "Sequence[Line]") -> None:
        """The words of each line, a blank line behind them."""
        from charlm.tokenizers.word_chunks import words_of

        found = [Sentence(tuple(words_of(line.text)), None) for line in lines]
        if self._json:
            self._write_json([sentence for sentence in found if sentence.tokens])
            return
        for sentence, tags in zip(found, self._tags(found), strict=True):
            for pair in zip(sentence.tokens, tags, strict=True):
                out_line("\t".join(pair))
            out_line("")

    def _tags(self, found: Sequence[Sentence]) -> list[list[str]]:
        return self._tagger.tag([sentence.tokens for sentence in found])

    def _write_json(self, found: Sequence[Sentence]) -> None:
        """An object for each sentence."""
        for sentence, scores in zip(
            found, self._tagger.log_probs([one.tokens for one in found]), strict=True
        ):
            tags = [self._tagger.names[at] for at in scores.argmax(axis=1)]
            out_json(
                {
                    "tokens": list(sentence.tokens),
                    "tags": tags,
                    "log_probs_nats": scores.max(axis=1).tolist(),
                    "spans": [span._asdict() for span in spans(tags)] if are_chunks(tags) else [],
                }
            )


def report(of: "TagScores") -> Iterator[str]:
    """The figures in lines of at most 80 columns."""
    yield f"sentences:      {of.sentences:,}"
    yield f"tokens:         {of.tokens:,}"
    yield f"token accuracy: {of.accuracy:.4f}"
    if not of.scores:
        return
    yield ""
    yield f"{'span':<16} {'precision':>9} {'recall':>9} {'F1':>9} {'in text':>9} {'found':>9}"
    for kind, s in sorted(of.scores.items()):
        yield (
            f"{safe_text(kind) or 'all':<16} {s.precision:>9.4f} {s.recall:>9.4f} {s.f1:>9.4f} "
            f"{s.meant:>9,} {s.found:>9,}"
        )
