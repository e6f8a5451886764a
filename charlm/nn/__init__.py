"""The networks as torch modules, and the batches they read."""
