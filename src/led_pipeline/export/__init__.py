"""Export: hand a trained stage to other tools, as indexes, vectors, ONNX, or on the model hub."""
