"""Tokens drawn from logits, and sequences drawn side by side."""
