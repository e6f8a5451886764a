"""What is asked of charlm score, of texts and of pairs alike."""

from pathlib import Path
from typing import NamedTuple

from charlm.cli import options
from charlm.cli.input.buckets import Buckets
from charlm.cli.input.declared import Options, option
from charlm.cli.input.filter import Bounds
from charlm.metrics import Unit


class Printed(Options, heading=options.OUTPUT):
    """The form of scores."""

    unit: Unit = options.UNIT
    per_token: bool = option("Per-token surprisal.", False)
    words: bool = option("Per-word surprisal, corrected for word boundaries.", False)
    region_column: str | None = option(
        "Per-region surprisal: column of the text with | between its regions."
    )
    heatmap: bool = option("Print the text coloured by surprisal.", False)
    attention: bool = option("Show where a translator looked at each token.", False)
    html: Path | None = option("Write the coloured texts, or alignments, to this HTML page.")
    json: bool = options.JSON
    tsv: bool = options.TSV
    prefix: str = options.PREFIX

    @property
    def is_shaded(self) -> bool:
        """Whether texts are coloured."""
        return self.heatmap or self.html is not None

    @property
    def is_more(self) -> bool:
        """Whether more than a line for each text is written."""
        return self.json or self.tsv or self.per_token or self.words


class NBest(Options, heading="N-best lists"):
    """How hypotheses are ranked."""

    n_best: bool = option(
        "Read lines of id, text and score; rank the texts of each id.", False, "--nbest"
    )
    best: bool = option("Print the best line of each id only.", False)
    kaldi: bool = option("Lines are Kaldi's: utt-1, a space, the text.", False)
    weight: float = option("Weight of log P in the total.", 1.0)
    tune_weight: str | None = option(
        "Fit that weight to the word errors against this file: id, space or tab, text.",
        metavar="FILE",
    )


class Asked(NamedTuple):
    """What is scored if not what the command line holds, and how it is read and written."""

    file: str | None
    records: options.Records
    decoding: options.Decoding
    printed: Printed
    bounds: Bounds
    buckets: Buckets
    jobs: int | None
