"""Models as ONNX graphs, written operator by operator from the equations."""
