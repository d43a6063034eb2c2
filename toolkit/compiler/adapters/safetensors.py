"""A file of safetensors: a JSON header that says where each tensor's bytes lie, and these bytes.

The format is the header's length (u64, little-endian), the header, the bytes
(huggingface.co/docs/safetensors): less than a package that would have to be installed for it, whose
numpy side knows no bfloat16, which adapters are often stored in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from opencl_kernels.formats import Array
from toolkit.errors import PocketError

DTYPES: Mapping[str, str] = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
MOST_HEADER = 100 << 20  # bytes: no sound file has more
AGAIN = "save it again, or copy it again: it may be cut short"


def tensors_of(file: Path) -> dict[str, Array]:
    """All tensors of floats, as float32, by their names. Raises PocketError where it is damaged."""
    try:
        content = file.read_bytes()
        return dict(_read(content))
    except OSError as error:
        raise PocketError(f"{file} cannot be read", error, "check the file") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PocketError(f"{file} is damaged", str(error) or "its header", AGAIN) from None


def _read(content: bytes) -> Iterator[tuple[str, Array]]:
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 0 < length <= min(MOST_HEADER, len(content) - 8):
        raise ValueError("its header is longer than the file")
    header: dict[str, dict[str, Any]] = json.loads(content[8 : 8 + length])
    body = memoryview(content)[8 + length :]
    for name, about in header.items():
        if name != "__metadata__":
            yield name, _tensor(name, about, body)


def _tensor(name: str, about: Mapping[str, Any], body: memoryview) -> Array:
    if about["dtype"] not in DTYPES:
        raise ValueError(f"{name} has the type {about['dtype']}, known are {', '.join(DTYPES)}")
    first, stop = (int(place) for place in about["data_offsets"])
    shape = tuple(int(size) for size in about["shape"])
    dtype = np.dtype(DTYPES[about["dtype"]])
    count = int(np.prod(shape, dtype=np.int64)) if min(shape, default=0) >= 0 else -1
    if not 0 <= first <= stop <= len(body) or stop - first != count * dtype.itemsize:
        raise ValueError(f"{name} does not lie in the file")
    found = np.frombuffer(body[first:stop], dtype).reshape(shape)
    if about["dtype"] == "BF16":  # the upper half of a float32
        return (found.astype(np.uint32) << 16).view(np.float32)
    return found.astype(np.float32)
