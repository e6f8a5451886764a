"""What the command line reads: models, texts, records."""
