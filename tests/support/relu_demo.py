"""The demo model with ReLU in its gated units, and a text to calibrate it by."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
from exports import DEMO
from onnx import helper

TEXT = "Once upon a time there was a little girl who had a red ball and a dog named Tim"

STORY = """
Once upon a time there was a little girl named Lily. She had a red ball and a small dog named Max.
One day, Lily and Max went to the park to play. Lily threw the ball very far, and Max ran fast to
get it. But the ball was in a big tree! Lily was sad. "What can we do, Max?" she asked.
A kind bird saw them and said, "I can help you!" The bird flew up and pushed the ball with its
beak. The ball fell down, and Lily was very happy. "Thank you, bird!" she said. They all played
together until the sun went down. Then Lily went home and told her mom about her new friend.
"""


def relu_demo(folder: Path) -> Path:
    """A copy of the demo model's folder in which gates are Relu(g), not g * Sigmoid(g)."""
    shutil.copytree(DEMO, folder)
    model = onnx.load(folder / "model.onnx")
    sigmoids = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "Sigmoid"}
    for node in model.graph.node:
        gates = {sigmoids[name] for name in node.input if name in sigmoids}
        if node.op_type == "Mul" and gates & set(node.input):
            node.CopyFrom(helper.make_node("Relu", [*gates], [*node.output], node.name))
    onnx.save(model, folder / "model.onnx")
    return folder


def some_text(file: Path, words: int = 400) -> Path:
    """Sentences whose order never repeats."""
    found = TEXT.split()
    file.write_text(" ".join(found[(i * i + i // 7) % len(found)] for i in range(words)) + ".")
    return file
