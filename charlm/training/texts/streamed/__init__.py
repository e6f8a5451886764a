"""Texts larger than memory: read in passes, kept as ids in a token store."""
