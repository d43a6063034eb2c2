"""How large a model's values become on a text, in ONNX Runtime."""
