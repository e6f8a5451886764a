"""Files that hold texts and are no text themselves."""
