"""Recognises paths that hold no ONNX model, and says how to get one."""
