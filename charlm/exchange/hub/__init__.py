"""Models in the layout of the Hugging Face hub: a card, a config, weights, a tokenizer."""
