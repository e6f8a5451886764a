"""Counted models: n-grams, a cache, and their interpolation with a network."""
