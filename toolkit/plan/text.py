"""The text of plan.json: one line per symbol, weight, file, program and step, and a digest.

`"#"` in a line is its index in its list, for the reader: nothing depends on it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from toolkit.plan.expr import to_rpn
from toolkit.plan.schema import STEPS, Plan

LISTS = (  # written line by line
    "symbols",
    "buffers",
    "states",
    "weights",
    "files",
    "programs",
    "phases",
    "scratch",
    "steps",
    "drivers",
    "tests",
    "tables",
    "points",
)
KINDS: dict[type, str] = {cls: kind for kind, cls in STEPS.items()}


def to_json(plan: Plan) -> str:
    """A plan as text."""
    body = _plain(plan)
    body = {"format": body.pop("format"), **body}
    text = "{\n" + "".join(f"{json.dumps(k)}: {_layout(k, v)},\n" for k, v in body.items())
    return text + f'"digest": "{digest(text)}"\n}}\n'


def digest(text: str) -> str:
    """Hash of plan.json above its last key, which holds it: so that an edit can be noticed."""
    above, found, _ = text.rpartition('\n"digest": ')
    return hashlib.sha256((above if found else text).rstrip().encode()).hexdigest()


def key_of(f: dataclasses.Field[Any]) -> str:
    """The JSON key of a field."""
    return str(f.metadata.get("key", f.name))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = {key_of(f): getattr(value, f.name) for f in _written_fields(value)}
        kind = {"kind": KINDS[type(value)]} if type(value) in KINDS else {}
        return kind | {k: _plain(v) for k, v in pairs.items() if v is not None}
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value if isinstance(value, str | bool | float | None) else to_rpn(value)


def _written_fields(value: Any) -> list[dataclasses.Field[Any]]:
    """Those of a record, without lists that are left out where they are empty."""
    return [
        f
        for f in dataclasses.fields(value)
        if getattr(value, f.name) or not f.metadata.get("unless_empty")
    ]


def _layout(key: str, value: Any) -> str:
    """A list of objects line by line, numbered; a phase with its own lists below it."""
    if key not in LISTS:
        return json.dumps(value)
    lines = [_object({"#": i, **item}) for i, item in enumerate(value)]
    return "[\n" + ",\n".join(lines) + "\n]" if lines else "[]"


def _object(item: dict[str, Any]) -> str:
    nested = [k for k in ("scratch", "steps") if isinstance(item.get(k), list)]
    flat = {k: v for k, v in item.items() if k not in nested}
    if not nested:
        return json.dumps(flat)
    lists = "".join(f',\n"{k}": {_layout(k, item[k])}' for k in nested)
    return json.dumps(flat)[:-1] + lists + "}"
