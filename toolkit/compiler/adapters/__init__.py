"""Adapters that were trained beside a model (LoRA), added to its weights before it is compiled."""
