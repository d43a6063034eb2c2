"""The only calls of ONNX Runtime: whatever it throws becomes a PocketError."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from toolkit.errors import PocketError

NAME = f"ONNX Runtime {ort.__version__}"
Arrays = Mapping[str, npt.NDArray[Any]]
# Prefixes of its messages: the kind of error, the file that was loaded, the line of C++.
_PREFIXES = (
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : ",
    r"^Load model from .*? failed:",
    r"^/\S+:\d+ [^()]*\([^()]*\) ",
)
# Messages about models that are valid, but use an op that it does not implement.
_NOT_DAMAGED = ("is not a registered function/op", "Could not find an implementation")


class Refused(PocketError):
    """ONNX Runtime cannot load or run a model."""


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Turn what ONNX Runtime throws, which has no common class, into `Refused`; `what` failed."""
    try:
        yield
    except Exception as error:
        hint = "export the model in a form that it knows; a plan runs without ONNX Runtime"
        raise Refused(what, _reason(error), hint) from error


def open_session(
    path: Path, threads: int = 0, optimise: bool = True, name: str | None = None
) -> ort.InferenceSession:
    """Load a model on the CPU; 0 threads lets ONNX Runtime choose. Raises Refused.

    name  what errors call the model, if the file is only a copy
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # errors carry its messages
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    with refusals(f"{NAME} cannot load {name or path}"):
        # enable_fallback=0: otherwise it tries again, and prints that on stdout
        return ort.InferenceSession(path, options, ["CPUExecutionProvider"], enable_fallback=0)


def run_session(session: ort.InferenceSession, feeds: Arrays) -> list[npt.NDArray[Any]]:
    """All outputs of a model. Raises Refused."""
    with refusals(f"{NAME} cannot run the model"):
        return list(session.run(None, dict(feeds)))


def run_bound(
    session: ort.InferenceSession, feeds: Mapping[str, Any], outputs: Sequence[str]
) -> list[ort.OrtValue]:
    """The same by I/O binding: inputs may be outputs of an earlier run, which are not copied."""
    with refusals(f"{NAME} cannot run the model"):
        binding = session.io_binding()
        for name, value in feeds.items():
            lies = isinstance(value, ort.OrtValue)
            own = value if lies else ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value))
            binding.bind_ortvalue_input(name, own)
        for name in outputs:
            binding.bind_output(name)
        session.run_with_iobinding(binding)
        return list(binding.get_outputs())


def numpy_type(name: str) -> str:
    """The numpy type for ONNX Runtime's name of one, such as `tensor(float16)`."""
    inner = name.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64", "string": "object"}.get(inner, inner)


def finds_damage(path: Path) -> bool:
    """Whether ONNX Runtime refuses a file because it is damaged, not because of a missing op."""
    try:
        open_session(path, optimise=False)
    except Refused as error:
        return not any(words in error.because for words in _NOT_DAMAGED)
    return False


def _reason(error: Exception) -> str:
    text = str(error).strip().split("\n")[0] or type(error).__name__
    for prefix in _PREFIXES:
        text = re.sub(prefix, "", text)
    return text
