"""A model of words as one of characters: what the next character is, over all completions."""
