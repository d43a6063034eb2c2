"""Is a plan right, and how good: ONNX Runtime, perplexity, what quantisation costs."""
