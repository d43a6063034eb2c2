"""Imports go one way, opencl_kernels <- onnx_passes <- toolkit; libraries have their places."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("opencl_kernels", "onnx_passes", "toolkit")
FILES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))

# What a layer may import of our own; a longer name allows only that module.
OURS = {
    "opencl_kernels": ("opencl_kernels",),
    "onnx_passes": (
        "onnx_passes",
        "opencl_kernels.formats",
        "opencl_kernels.elementwise.functions",
    ),
    "toolkit": LAYERS,
}
# The only places that may import a library; libraries not named here may be imported anywhere.
PLACES = {
    "onnxscript": ("onnx_passes/",),
    "pyopencl": (
        "opencl_kernels/launch.py",
        "opencl_kernels/timing.py",
        "toolkit/executors/machine.py",
        "toolkit/tuning/tuner.py",
        "toolkit/cli/doctor.py",
        "toolkit/devices/features.py",
        "toolkit/executors/device_fit.py",
    ),
    "click": ("toolkit/cli",),
    "yaml": ("toolkit/devices/profiles.py",),
    "jinja2": ("toolkit/generation/chat_template_worker.py",),
    "onnx": ("onnx_passes/", "toolkit/"),
    "onnx_ir": ("onnx_passes/", "toolkit/"),
    "onnxruntime": ("toolkit/",),
}
BANNED = ("onnx.helper", "onnx.numpy_helper")
LIBRARIES = {*PLACES, *LAYERS, "numpy", "sympy", "tokenizers", "onnx_shape_inference"}


def imports(source: str, package: str) -> list[str]:
    """Every dotted name that a file imports, `from a import b` counted as a.b."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, (package if node.level else "", node.module)))
            names += [f"{base}.{alias.name}" for alias in node.names]
    return names


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def faults(path: str, source: str) -> list[str]:
    """What a file imports although its place forbids it."""
    layer = path.split("/")[0]
    found = []
    for name in imports(source, layer):
        top = name.split(".")[0]
        if top in LAYERS and not within(name, OURS[layer]):
            found.append(f"{path}: {layer} may not import {name}")
        if top in PLACES and not path.startswith(PLACES[top]):
            found.append(f"{path}: {top} is not imported here")
        if within(name, BANNED):
            found.append(f"{path}: {name} is for tests")
        if top not in LIBRARIES and top not in sys.stdlib_module_names:
            found.append(f"{path}: {top} is no dependency of this project")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_keep_to_their_layer(path: Path) -> None:
    assert faults(str(path.relative_to(ROOT)), path.read_text()) == []


@pytest.mark.parametrize(
    "path, source",
    [
        ("opencl_kernels/a.py", "from onnx_passes import shapes"),
        ("opencl_kernels/a.py", "def f():\n    import toolkit.plan.schema"),
        ("onnx_passes/a.py", "from opencl_kernels import KERNELS"),
        ("onnx_passes/a.py", "from opencl_kernels.kernel import Kernel"),
        ("toolkit/a.py", "import onnxscript.rewriter"),
        ("toolkit/a.py", "from onnx import helper"),
        ("toolkit/a.py", "import click"),
        ("toolkit/plan/schema.py", "import pyopencl as cl"),
        ("toolkit/plan/schema.py", "import torch"),
    ],
)
def test_the_rules_can_fail(path: str, source: str) -> None:
    assert faults(path, source) != []


@pytest.mark.parametrize(
    "path, source",
    [
        ("onnx_passes/a.py", "from opencl_kernels.formats import pack_n16"),
        ("onnx_passes/a.py", "from opencl_kernels import formats"),
        ("onnx_passes/a.py", "from .graph import value"),
        (
            "toolkit/executors/machine.py",
            "import pyopencl as cl\nfrom onnx_passes.ir.dims import as_expr",
        ),
    ],
)
def test_the_rules_allow_what_the_design_allows(path: str, source: str) -> None:
    assert faults(path, source) == []


def test_every_layer_is_looked_at() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(LAYERS)
