"""What one asks of a model: scores, samples, next tokens, gaps, comparisons."""
