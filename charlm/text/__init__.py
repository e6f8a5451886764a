"""Text: bytes to sequences, with their labels or tags, to ids."""
