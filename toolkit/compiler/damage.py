"""Is a model damaged, or is it us? ONNX's checker and ONNX Runtime are asked once something failed.

A file is called damaged only where both refuse it: the checker knows no op of ONNX Runtime's and
wants nodes in order, ONNX Runtime lacks the newest versions. What they cost doesn't matter then.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

from onnx_passes.ir.graph import GraphError, InvalidModel
from toolkit.errors import PocketError

# Complaints of the checker that say nothing about what the nodes compute.
_SAYS_NOTHING = ("No Op registered", "must be topologically sorted")


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Say that the model is invalid where that is why something failed."""
    try:
        yield
    except InvalidModel as error:  # it says itself what is wrong with the file
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
    """What is wrong with the model, or None where the checker or ONNX Runtime takes it."""
    from toolkit.onnx_runtime import finds_damage

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # the checker raises many kinds
        says_nothing = any(words in str(error) for words in _SAYS_NOTHING)
        return None if says_nothing or not finds_damage(path) else reason(error)
    return None


def unreadable(path: Path, error: object) -> PocketError:
    """The error for a file that could not be read: damaged, unless ONNX Runtime reads it."""
    from toolkit.onnx_runtime import finds_damage

    if finds_damage(path):
        return damaged(path, error)
    return PocketError(
        f"{path} holds something that is not read",
        f"ONNX Runtime runs it, but {reason(error)}",
        "export it with torch.onnx or optimum, or save it again with onnx_ir",
    )


def damaged(path: Path, error: object) -> PocketError:
    """The error for a file that holds no model."""
    hint = "export or download it again"
    return PocketError(f"{path} is not a usable ONNX model", reason(error), hint)


def reason(error: object) -> str:
    """The first line of the first fault: it says more than what wraps it."""
    while isinstance(error, Exception) and error.__cause__:
        error = error.__cause__
    return str(error).strip().split("\n")[0] or type(error).__name__
