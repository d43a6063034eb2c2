"""Correctness and quality of a plan: ONNX Runtime, perplexity, errors of quantisation."""
