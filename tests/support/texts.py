"""Texts for models that the command line trains."""

TEXT = "".join(
    f"the {size} {animal} {verb} the {fruit}\n"
    for size in ("big", "small", "old")
    for animal in ("bear", "badger", "jay")
    for verb in ("eats", "sees", "wants")
    for fruit in ("pear", "apple", "plum")
)
AWKWARD_TEXT = "a\tb\nc\rd\\e\x1b[31m\x00\x7f\x9b2J\u202e ☃"
