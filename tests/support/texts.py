"""Texts for models that the command line trains."""

TEXT = "".join(
    f"the {size} {animal} {verb} the {fruit}\n"
    for size in ("big", "small", "old")
    for animal in ("bear", "badger", "jay")
    for verb in ("eats", "sees", "wants")
    for fruit in ("pear", "apple", "plum")
)
