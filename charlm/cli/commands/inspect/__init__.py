"""charlm inspect."""


def inspect_cli() -> None:
    """See what happens inside a model.

    \b
    charlm inspect gates "The cat, which already ate, was full"
    charlm inspect gradient --file corpus.txt
    """
