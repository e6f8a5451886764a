"""What samples have copied from the training text."""
