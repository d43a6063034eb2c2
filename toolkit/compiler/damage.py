"""Find out whether a model is damaged, once something has failed.

A file counts as damaged only if ONNX's checker and ONNX Runtime both refuse it: the checker does
not know the ops of ONNX Runtime and wants sorted nodes, ONNX Runtime lacks the newest opsets. They
take time, which doesn't matter after a failure.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

from onnx_passes.ir.graph import GraphError, InvalidModel
from toolkit.errors import PocketError

# Messages of the checker that don't mean that the model is damaged.
_HARMLESS = ("No Op registered", "must be topologically sorted")


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Replace an error by one that says that the model is damaged, if that is the cause."""
    try:
        yield
    except InvalidModel as error:  # it names the fault of the file itself
        raise _said(error) from None
    except Exception as error:
        fault = _fault(path)
        if fault is not None:
            raise damaged(path, fault) from error
        if isinstance(error, GraphError):
            raise _said(error) from None
        raise


def _said(error: GraphError) -> PocketError:
    return PocketError(error.what, error.because, error.hint)


def _fault(path: Path) -> str | None:
    """The fault of a damaged model; None if the checker or ONNX Runtime accepts it."""
    from toolkit.onnx_runtime import finds_damage

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # the checker raises many kinds
        harmless = any(words in str(error) for words in _HARMLESS)
        return None if harmless or not finds_damage(path) else reason(error)
    return None


def unreadable(path: Path, error: object) -> PocketError:
    """The error for a file that could not be read: it is damaged, unless ONNX Runtime reads it."""
    from toolkit.onnx_runtime import finds_damage

    if finds_damage(path):
        return damaged(path, error)
    return PocketError(
        f"{path} contains something that PocketCL can't read",
        f"ONNX Runtime runs it, but {reason(error)}",
        "export it with torch.onnx or optimum, or save it again with onnx_ir",
    )


def damaged(path: Path, error: object) -> PocketError:
    """The error for a file that holds no model."""
    hint = "export or download it again"
    return PocketError(f"{path} is not a usable ONNX model", reason(error), hint)


def reason(error: object) -> str:
    """The first line of the innermost cause, which says more than the errors around it."""
    while isinstance(error, Exception) and error.__cause__:
        error = error.__cause__
    return str(error).strip().split("\n")[0] or type(error).__name__
