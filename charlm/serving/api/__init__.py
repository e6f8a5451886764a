"""What can be asked: bodies, completions, questions, tokens, and their description."""
