"""Which model a plan was compiled from, as plan.json notes it.

People may edit plan.json, so that what stands there is read like any other file.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from toolkit.errors import PocketError
from toolkit.plan.reader import RECOMPILE, decode
from toolkit.plan.schema import Plan


@dataclass(frozen=True)
class Origin:
    """The model's .onnx file, and the SHA-256 of it with its external data.

    lora  the folder of adapters that were added to its weights, where there were some: the hash is
          of these, too
    """

    path: str
    sha256: str
    lora: str = ""


def origin_of(plan: Plan) -> Origin:
    """The model that a plan was compiled from; raises where plan.json doesn't say."""
    with readable("model"):
        found: Origin = decode(Origin, plan.model.get("source"), "model.source")
        return found


def noted(plan: Plan, key: str) -> str:
    """`path` or `sha256` of the model as far as plan.json says it, else nothing."""
    source = plan.model.get("source")
    return str(source.get(key, "")) if isinstance(source, Mapping) else ""


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Name the part of plan.json that an error is about."""
    try:
        yield
    except PocketError as error:
        because = f"{error.what}: {error.because}"
        raise PocketError(f"the plan doesn't say its {what}", because, RECOMPILE) from None
