"""Where a plan came from: its model and the options of its compile, as plan.json notes them.

People may edit plan.json, so that what stands there is read like any other file.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from opencl_kernels.formats import GROUPS
from toolkit.compiler.options import Options, check_weights
from toolkit.errors import PocketError
from toolkit.plan.reader import RECOMPILE, decode
from toolkit.plan.schema import Plan

FLOATS = ("f32", "f16")


@dataclass(frozen=True)
class Origin:
    """The model's .onnx file, and the SHA-256 of it with its external data."""

    path: str
    sha256: str


def origin_of(plan: Plan) -> Origin:
    """The model that a plan was compiled from; raises where plan.json doesn't say."""
    with _readable("model"):
        found: Origin = decode(Origin, plan.model.get("source"), "model.source")
        return found


def noted(plan: Plan, key: str) -> str:
    """`path` or `sha256` of the model as far as plan.json says it, else nothing."""
    source = plan.model.get("source")
    return str(source.get(key, "")) if isinstance(source, Mapping) else ""


def options_of(plan: Plan) -> Options:
    """What a plan was compiled with; raises where no compile takes what plan.json says."""
    with _readable("options"):
        found: Options = decode(Options, plan.model.get("options"), "model.options")
        check_weights(found.weights, None, False, found.keep)
        types, sizes = (found.activations, found.kv), (found.context, found.chunk, found.batch)
        if set(types) - set(FLOATS) or min(sizes) < 1 or found.group not in GROUPS:
            raise PocketError("model.options", f"no compile takes {vars(found)}")
        return found


@contextmanager
def _readable(what: str) -> Iterator[None]:
    try:
        yield
    except PocketError as error:
        because = f"{error.what}: {error.because}"
        raise PocketError(f"the plan doesn't say its {what}", because, RECOMPILE) from None
