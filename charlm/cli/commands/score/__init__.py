"""charlm score."""

import typer

from charlm.cli import options
from charlm.cli.commands.score.asked import Asked, NBest, Printed
from charlm.cli.commands.score.pairs import score_table, score_targets
from charlm.cli.commands.score.rules import RULES as RULES
from charlm.cli.commands.score.texts import TextScorer, file_of_texts
from charlm.cli.input.beginning import dash_is_piped
from charlm.cli.input.buckets import Buckets
from charlm.cli.input.declared import option
from charlm.cli.input.filter import Bounds
from charlm.cli.input.model import named_translator, translator
from charlm.cli.input.pairs import only_of_texts
from charlm.errors import UsageError


def score_cli(
    *,
    texts: list[str] | None = typer.Argument(
        None,
        help="Texts to score, or targets of --source; two or more are also ranked.",
        show_default=False,
    ),
    file: str | None = options.file("Score each line of this file; - is standard input."),
    cut: options.Cut,
    of: str | None = option(
        "Source of the targets, for a translator.", None, "--source", heading=options.INPUT
    ),
    features: str | None = options.FEATURES,
    sides: options.Sides,
    context: str = option(
        "Text in front of each text; it is not scored.", "", heading=options.INPUT
    ),
    records: options.Records,
    decoding: options.Decoding,
    models: options.Judged,
    closed: bool = options.CLOSED,
    printed: Printed,
    bounds: Bounds,
    buckets: Buckets,
    ranking: NBest,
    jobs: int | None = options.JOBS,
) -> None:
    """Score texts: their probability, the end of each included.

    \b
    charlm score "The apple and pear salad"
    charlm score "recognise speech" "wreck a nice beach"
    charlm score --per-token "The apple and pair salad"
    charlm score --context "The apple and" " pear salad" " pair salad"
    charlm score --heatmap --words "The apple and pair salad"
    charlm score --html page.html --file sentences.txt
    charlm score --file sentences.txt --tsv
    charlm sample --n 200 -0 | charlm score -0
    charlm score --file sentences.txt --max-perplexity 50
    charlm score --file sentences.txt --keep-best 30% --histogram
    charlm score --file sentences.txt --bucket 3
    charlm score --jsonl --field text --file records.jsonl
    charlm score --column 2 --file table.tsv
    charlm score --words --column sentence --file stimuli.csv
    charlm score --column sentence --region-column regions --file stimuli.csv
    charlm score --nbest --weight 0.5 --file hypotheses.tsv
    charlm score --nbest --tune-weight references.txt --file hypotheses.tsv
    charlm score --model numbers --source 42 "forty-two" "twenty-four"
    charlm score --model numbers --file pairs.tsv
    """
    if abs(ranking.weight) > 1e6:
        raise UsageError(f"--weight must be from -1e6 to 1e6, got {ranking.weight:g}.")
    printed.words |= printed.region_column is not None
    texts, file = dash_is_piped(texts, file)
    asked = Asked(file, records, decoding, printed, bounds, buckets, jobs)
    if found := named_translator(models, of_pairs=of is not None or sides.are_asked):
        only_of_texts(
            context=context,
            split_on=cut.split_on,
            null=cut.null,
            jsonl=records.jsonl,
            column=records.column,
            words=printed.words,
            heatmap=printed.heatmap,
            nbest=ranking.n_best,
            weights=models.weights,
            tune=models.tune,
            by_character=models.by_character,
            label=models.label,
            adapt=models.adapt != "off",
            closed=closed,
        )
        places = sides.places(header=records.header)
        loaded = translator(found)
        if of is not None:
            score_targets(loaded, of, features, texts or [], asked)
        elif texts:
            raise UsageError(
                "a translator scores a target given its source: name that with --source, or give "
                "a table of pairs with --file."
            )
        else:
            score_table(loaded, places, asked)
        return
    if printed.attention:
        raise UsageError("--attention is where a translator looked: give a source with --source.")
    if texts:
        TextScorer(models, asked, context=context, closed=closed).score_arguments(texts)
        return
    in_records = records.jsonl or records.column is not None or ranking.n_best
    source = file_of_texts(file, cut, asked, in_records=in_records)
    TextScorer(models, asked, context=context, closed=closed).score_file(source, ranking)
