"""What a path holds that is no ONNX model, and the step that leads on."""
