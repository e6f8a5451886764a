"""What other programs read of a model, and what is made of theirs."""
