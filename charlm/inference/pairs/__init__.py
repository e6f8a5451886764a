"""What is written for sources by a model of pairs, and how far it is from what should be."""
