"""Who is told of a training beside metrics.jsonl: an event file for TensorBoard, or a function."""
