"""charlm import."""

from charlm.cli import options
from charlm.cli.input.declared import option
from charlm.cli.options import model_option
from charlm.cli.output.terminal import say


def import_cli(
    *,
    arpa: str = option(
        "File of n-grams in the ARPA format, packed or not; - is standard input.",
        ...,
        metavar="FILE",
        heading=options.INPUT,
    ),
    name: str = option("Name of the run that is made.", ..., heading=options.MODEL),
    runs: options.Runs,
) -> None:
    """Make a model of what another program has made.

    Of an ARPA file, as KenLM, SRILM and others write them, comes a model of counts alone: it
    scores, samples, evaluates, is served, and mixes with networks.

    \b
    charlm import --arpa news.arpa.gz --name news
    """
    from charlm.checkpoints.directory import check_name
    from charlm.checkpoints.run import Run
    from charlm.exchange.arpa_runs import import_arpa

    path = runs.root / check_name(name)
    Run(path).check_new()
    counts = import_arpa(arpa, path, say)
    say(
        f"run: {path}, {counts.num_ngrams:,} n-grams of up to {counts.order} tokens, "
        f"{counts.vocab_size:,} types"
    )
    say(f'next: charlm score{model_option(path)} "a sentence"')
