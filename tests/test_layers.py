"""Who may import whom: three layers, the packages of each, and the places of libraries."""

import ast
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("opencl_kernels", "onnx_passes", "toolkit")
FILES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))
MOST_MODULES = 15  # of a folder: what one takes in at a look
CROWDED = ("onnx_passes",)  # a pass is a file of its own, however many there are

# Package -> those it stands on; what these stand on, it may import as well. A folder of a layer's
# modules that is not named here belongs to the package around it. A layer's own name stands for the
# modules at its top, which only __init__ and __main__ may leave upwards.
ARROWS: dict[str, tuple[str, ...]] = {
    "opencl_kernels": (),
    "onnx_passes.ir": (),
    "onnx_passes.weights": ("onnx_passes.ir",),
    "onnx_passes.analysis": ("onnx_passes.weights",),
    "onnx_passes": ("onnx_passes.analysis",),
    "toolkit": (),
    "toolkit.drawing": ("toolkit",),
    "toolkit.foreign": ("toolkit",),
    "toolkit.plan": ("toolkit.foreign",),
    "toolkit.toolchain": ("toolkit",),
    "toolkit.offload": ("toolkit.plan",),
    "toolkit.phone": ("toolkit.plan", "toolkit.toolchain"),
    "toolkit.devices": ("toolkit.phone", "opencl_kernels"),
    "toolkit.predictors": ("toolkit", "onnx_passes.weights", "opencl_kernels"),
    "toolkit.compiler": (
        "toolkit.devices",
        "toolkit.offload",
        "toolkit.predictors",
        "onnx_passes",
    ),
    "toolkit.calibration": ("toolkit.compiler",),
    "toolkit.executors": ("toolkit.devices", "toolkit.offload"),
    "toolkit.generation": ("toolkit.executors",),
    "toolkit.evaluation": ("toolkit.compiler", "toolkit.generation"),
    "toolkit.estimate": ("toolkit.compiler", "toolkit.drawing"),
    "toolkit.bench": ("toolkit.evaluation", "toolkit.estimate"),
    "toolkit.tuning": ("toolkit.bench",),
    "toolkit.simulation": ("toolkit.calibration", "toolkit.drawing", "toolkit.evaluation"),
    "toolkit.cli": ("toolkit.tuning", "toolkit.simulation"),
}
# What passes may know of kernels: how weights lie, and which functions of elements there are.
OF_KERNELS = ("opencl_kernels.formats", "opencl_kernels.map.functions")
ENTRIES = ("toolkit/__init__.py", "toolkit/__main__.py")  # the public names, the command line
# The only places that may import a library; libraries not named here may be imported anywhere.
PLACES = {
    "onnxscript": ("onnx_passes/",),
    "pyopencl": (
        "opencl_kernels/launch.py",
        "opencl_kernels/timing.py",
        "toolkit/devices/",
        "toolkit/executors/",
        "toolkit/tuning/",
        "toolkit/cli/doctor.py",
    ),
    "click": ("toolkit/cli/",),
    "yaml": ("toolkit/devices/profiles.py",),
    "jinja2": ("toolkit/generation/chat_template_worker.py",),
    "onnx": ("onnx_passes/", "toolkit/"),
    "onnx_ir": ("onnx_passes/", "toolkit/"),
    "onnxruntime": ("toolkit/",),
}
BANNED = ("onnx.helper", "onnx.numpy_helper")
LIBRARIES = {*PLACES, *LAYERS, "numpy", "sympy", "tokenizers", "onnx_shape_inference"}


def imports(source: str) -> list[str]:
    """Every dotted name that a file imports, `from a import b` counted as a.b."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
    return names


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def package_of(name: str) -> str:
    """The innermost package of ARROWS that a module, or a name in it, belongs to."""
    parts = name.split(".")
    prefixes = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next(prefix for prefix in prefixes if prefix in ARROWS)


def below(package: str, arrows: Mapping[str, tuple[str, ...]]) -> set[str]:
    """The package and all that it stands on; raises RecursionError where arrows run in a circle."""
    return {package}.union(*(below(base, arrows) for base in arrows[package]))


def faults(path: str, source: str) -> list[str]:
    """What a file imports although its place forbids it."""
    package = package_of(path.removesuffix(".py").replace("/", "."))
    found = []
    for name in imports(source):
        top = name.split(".")[0]
        if not top:
            found.append(f"{path}: {name} is imported by a path that moves with the file")
        elif top in LAYERS and path not in ENTRIES and not _is_allowed(package, name):
            found.append(f"{path}: {package} may not import {name}")
        if top in PLACES and not path.startswith(PLACES[top]):
            found.append(f"{path}: {top} is not imported here")
        if within(name, BANNED):
            found.append(f"{path}: {name} is for tests")
        if top and top not in LIBRARIES and top not in sys.stdlib_module_names:
            found.append(f"{path}: {top} is no dependency of this project")
    return found


def _is_allowed(package: str, name: str) -> bool:
    of_passes = package.startswith("onnx_passes") and within(name, OF_KERNELS)
    return of_passes or package_of(name) in below(package, ARROWS)


def misplaced(paths: list[str]) -> list[str]:
    """Folders with too many modules, and modules named like one of Python's own."""
    modules = [Path(path) for path in paths if not Path(path).stem.startswith("__")]
    found = [f"{path}: Python has a {path.stem}" for path in modules if _hides(path.stem)]
    for folder in sorted({path.parent for path in modules}):
        count = sum(path.parent == folder for path in modules)
        if count > MOST_MODULES and str(folder) not in CROWDED:
            found.append(f"{folder}: {count} modules, of at most {MOST_MODULES}")
    return found


def _hides(name: str) -> bool:
    """A file of this name, started as a program, would stand before Python's own for the others."""
    return name in sys.stdlib_module_names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_keep_to_the_arrows(path: Path) -> None:
    assert faults(str(path.relative_to(ROOT)), path.read_text()) == []


def test_folders_are_small_and_no_module_hides_one_of_pythons() -> None:
    assert misplaced([str(path.relative_to(ROOT)) for path in FILES]) == []


def test_arrows_run_in_no_circle_and_every_package_has_some() -> None:
    folders = {path.parent.relative_to(ROOT) for path in FILES}
    assert {package_of(".".join(folder.parts)) for folder in folders} == set(ARROWS)
    for package in ARROWS:
        below(package, ARROWS)


def test_the_wheel_has_every_package() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in FILES}
    assert set(listed) - {"android_runner", "toolkit.facts"} == packages
    assert all((ROOT / name.replace(".", "/") / "__init__.py").exists() for name in packages)


@pytest.mark.parametrize(
    "path, source",
    [
        ("opencl_kernels/a.py", "from onnx_passes.ir import dims"),
        ("opencl_kernels/a.py", "def f():\n    import toolkit.plan.schema"),
        ("onnx_passes/a.py", "from opencl_kernels import KERNELS"),
        ("onnx_passes/a.py", "from opencl_kernels.kernel import Kernel"),
        ("onnx_passes/ir/a.py", "from onnx_passes.prune import prune"),
        ("onnx_passes/ir/a.py", "from onnx_passes.analysis.roles import roles_of"),
        ("onnx_passes/weights/a.py", "from onnx_passes import PASSES"),
        ("onnx_passes/a.py", "from .ir.graph import value"),
        ("toolkit/a.py", "import onnxscript.rewriter"),
        ("toolkit/a.py", "from onnx import helper"),
        ("toolkit/a.py", "import click"),
        ("toolkit/a.py", "from toolkit.plan.schema import Plan"),
        ("toolkit/plan/schema.py", "import pyopencl as cl"),
        ("toolkit/plan/schema.py", "import torch"),
        ("toolkit/plan/a.py", "from toolkit.compiler.options import Options"),
        ("toolkit/plan/a.py", "from onnx_passes import PASSES"),
        ("toolkit/phone/a.py", "from toolkit.devices.profiles import profiles"),
        ("toolkit/executors/a.py", "def f():\n    from toolkit.compiler import pipeline"),
        ("toolkit/compiler/lowering/a.py", "from toolkit.executors.interface import Executor"),
        ("toolkit/bench/report/a.py", "from toolkit.cli.inspection import table"),
    ],
)
def test_the_rules_can_fail(path: str, source: str) -> None:
    assert faults(path, source) != []


@pytest.mark.parametrize(
    "path, source",
    [
        ("onnx_passes/a.py", "from opencl_kernels.formats import pack_n16"),
        ("onnx_passes/ir/a.py", "from opencl_kernels import formats"),
        ("onnx_passes/analysis/a.py", "from onnx_passes.ir.graph import value"),
        ("toolkit/__init__.py", "from toolkit.compiler.pipeline import compile"),
        ("toolkit/plan/a.py", "from toolkit.errors import PocketError"),
        ("toolkit/compiler/lowering/a.py", "from toolkit.plan.schema import Plan"),
        ("toolkit/compiler/lowering/a.py", "from onnx_passes.ir.dims import as_expr"),
        ("toolkit/executors/opencl/phases.py", "import pyopencl as cl"),
        ("toolkit/bench/report/a.py", "from toolkit.bench.trials import Trial"),
    ],
)
def test_the_rules_allow_what_the_design_allows(path: str, source: str) -> None:
    assert faults(path, source) == []


def test_what_is_misplaced_is_found() -> None:
    crowd = [f"toolkit/plan/m{number}.py" for number in range(MOST_MODULES + 1)]
    assert misplaced(crowd) == [f"toolkit/plan: {len(crowd)} modules, of at most {MOST_MODULES}"]
    assert misplaced(["toolkit/bench/profile.py"]) == [
        "toolkit/bench/profile.py: Python has a profile"
    ]
    passes = [f"onnx_passes/m{number}.py" for number in range(MOST_MODULES + 1)]
    assert misplaced([*crowd[1:], *passes, "toolkit/plan/__init__.py"]) == []


def test_a_circle_is_found() -> None:
    with pytest.raises(RecursionError):
        below("a", {"a": ("b",), "b": ("a",)})
