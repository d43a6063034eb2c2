"""Functions that a driver brings, in contexts that come and go: each reads them from its library.

With PoCL, tests stand before that library (lazy_library.cpp): it must serve what a kernel asks for
first, or again where the memory of an earlier context is used anew.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np

from opencl_kernels.formats import Array
from opencl_kernels.launch import open_queue
from toolkit.executors.opencl.device_choice import choose_device

FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    **{name: getattr(np, name) for name in ("exp", "log", "sin", "tan", "exp2", "log1p", "cbrt")},
    **{"asinh": np.arcsinh, "atan": np.arctan, "sinpi": lambda x: np.sin(np.pi * x)},
    "pown": lambda x: x**3,
}
CONTEXTS = 4


def test_contexts_that_come_and_go() -> None:
    import pyopencl as cl

    names, x = list(FUNCTIONS), np.random.default_rng(0).uniform(0.1, 1, 7).astype(np.float32)
    for number in range(CONTEXTS):
        chosen = [names[(2 * number + i) % len(names)] for i in range(3)]
        calls = " + ".join(f"{name}(x[i]{', 3' * (name == 'pown')})" for name in chosen)
        body = f"{{ const int i = get_global_id(0); y[i] = {calls} + {number}; }}"
        with open_queue(choose_device()) as queue:
            flags = cl.mem_flags.READ_ONLY | cl.mem_flags.COPY_HOST_PTR
            given = cl.Buffer(queue.context, flags, hostbuf=x)
            made = cl.Buffer(queue.context, cl.mem_flags.WRITE_ONLY, x.nbytes)
            text = f"__kernel void k(__global const float *x, __global float *y) {body}"
            cl.Program(queue.context, text).build().k(queue, x.shape, (1,), given, made)
            found = np.empty_like(x)
            cl.enqueue_copy(queue, found, made)
        wanted = sum(FUNCTIONS[name](x.astype(np.float64)) for name in chosen) + number
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
        del given, made, queue
        gc.collect()
