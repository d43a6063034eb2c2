"""Errors of OpenCL as errors of ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyopencl as cl

from toolkit.errors import PocketError


@contextmanager
def opencl_errors(what: str, hint: str = "pocketcl doctor") -> Iterator[None]:
    """Raise what OpenCL reports inside as `what`, because of that."""
    try:
        yield
    except (cl.Error, OSError) as error:
        raise PocketError(what, str(error), hint) from error
