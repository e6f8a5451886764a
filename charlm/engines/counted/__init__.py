"""Engines of counts: what runs n-grams without a network."""
