"""plan.json -> Plan: every value has its declared type, or one error says where it hasn't."""

import dataclasses
import json
import math
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from toolkit.errors import PocketError
from toolkit.paths import PLAN_FILE
from toolkit.plan.expr import Expr, from_rpn
from toolkit.plan.schema import FORMAT, STEPS, Plan, Ref, Step
from toolkit.plan.text import key_of

REF_KINDS = ("scratch", "weight", "buffer")
REF_WORDS = ("symbols", "ticket", "slots", "rule")  # references by themselves
RECOMPILE = "compile the model again: pocketcl compile SRC -o PLAN"


def from_json(text: str, where: str = PLAN_FILE) -> Plan:
    """Read plan.json; `where` names it in errors. Meaning is checked by `load.check_plan`."""
    try:
        body = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise PocketError(f"{where} is not JSON", error, RECOMPILE) from None
    if not isinstance(body, dict) or "format" not in body:
        raise PocketError(f"{where} is not a plan", "it has no key 'format'", RECOMPILE)
    if type(body["format"]) is not int or body["format"] != FORMAT:
        raise PocketError(
            f"{where} has format {body['format']!r:.40}",
            f"this version of PocketCL reads format {FORMAT}",
            RECOMPILE,
        )
    try:
        plan: Plan = decode(Plan, body, "")
    except PocketError as error:
        raise PocketError(f"{where} is damaged at {error.what}", error.because, RECOMPILE) from None
    return plan


def damaged(path: str, because: str) -> PocketError:
    """An error at a path of keys; the reader and the loader put the file's name in front."""
    return PocketError(path or "its top level", because, RECOMPILE)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def decode(hint: Any, value: Any, path: str) -> Any:
    """The value as the type that a field declares."""
    if hint in (int, str, bool):
        return _scalar(hint, value, path)
    if hint is float:
        return _number(value, path)
    if hint == Expr:
        return _expression(value, path)
    if hint in (Ref, Ref | None):
        return None if value is None and hint != Ref else _reference(value, path)
    if hint == Step:
        return _step(value, path)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _record(hint, value, path)
    if get_origin(hint) is tuple:
        return _tuple(get_args(hint), value, path)
    if get_origin(hint) is Mapping:
        return _mapping(get_args(hint)[1], value, path)
    if get_origin(hint) is types.UnionType:  # X | None
        return None if value is None else decode(get_args(hint)[0], value, path)
    return value  # Any: model and profile carry what their readers know


def _scalar(hint: type, value: Any, path: str) -> Any:
    if type(value) is not hint:
        raise damaged(path, f"expected {hint.__name__}, found {value!r:.60}")
    if isinstance(value, int) and abs(value) >= 2**62:
        raise damaged(path, f"{value} is too large")
    if isinstance(value, str) and not value.isprintable():
        raise damaged(path, f"{value!a:.60} has characters that no name has")
    return value


def _number(value: Any, path: str) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise damaged(path, f"expected a number, found {value!r:.60}")
    return float(value)


def _expression(value: Any, path: str) -> Expr:
    try:
        return from_rpn(value)
    except PocketError as error:
        raise damaged(path, f"{error}") from None


def _reference(value: Any, path: str) -> Ref:
    if isinstance(value, list) and len(value) == 1 and value[0] in REF_WORDS:
        return (str(value[0]),)
    if isinstance(value, list) and len(value) == 2 and value[0] in REF_KINDS:
        return value[0], int(_scalar(int, value[1], f"{path}[1]"))
    raise damaged(
        path, f'expected ["symbols"] or [{"|".join(REF_KINDS)}, index], got {value!r:.60}'
    )


def _step(value: Any, path: str) -> Step:
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in STEPS:
        raise damaged(path, f"unknown kind of step {kind!r:.40}; known: {', '.join(STEPS)}")
    step: Step = _record(STEPS[kind], value, path)
    return step


def _record(cls: type, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise damaged(path, f"expected an object, found {value!r:.60}")
    hints, found = _hints(cls), {}
    for f in dataclasses.fields(cls):
        key, at = key_of(f), f"{path}.{key_of(f)}".lstrip(".")
        if key in value:
            found[f.name] = decode(hints[f.name], value[key], at)
        elif f.default is f.default_factory is dataclasses.MISSING:
            raise damaged(at, "the key is missing")
    return cls(**found)


def _tuple(hints: tuple[Any, ...], value: Any, path: str) -> Any:
    if not isinstance(value, list | tuple):  # a plan that was never written has tuples
        raise damaged(path, f"expected a list, found {value!r:.60}")
    if hints[-1] is not ... and len(value) != len(hints):
        raise damaged(path, f"expected {len(hints)} entries, found {len(value)}")
    each = [hints[0]] * len(value) if hints[-1] is ... else hints
    return tuple(
        decode(h, v, f"{path}[{i}]") for i, (h, v) in enumerate(zip(each, value, strict=True))
    )


def _mapping(hint: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise damaged(path, f"expected an object, found {value!r:.60}")
    return {_scalar(str, k, path): decode(hint, v, f"{path}.{k}") for k, v in value.items()}


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)
