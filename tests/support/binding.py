"""android_runner/include/pocketcl.h for Python, by ctypes."""

from __future__ import annotations

import ctypes as c
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from native import INTO_ONE_FILE, build, library_sources

OK, ERROR, CANCELLED, BUSY, LOST = range(5)
EOS, LENGTH, CONTEXT, CANCEL = range(4)
OnId = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_int32)


class Options(c.Structure):
    """pocketcl_options."""

    _words = ("plan", "cache", "library", "platform", "phases", "recorded", "cooperative", "warm")
    _fields_ = (("size", c.c_size_t), *((name, c.c_char_p) for name in _words))


class Sampling(c.Structure):
    """pocketcl_sampling."""

    _floats = ("temperature", "top_p", "min_p")
    _penalties = ("repetition_penalty", "presence_penalty", "frequency_penalty")
    _fields_ = (
        ("size", c.c_size_t),
        ("seed", c.c_uint64),
        *((name, c.c_float) for name in (*_floats, *_penalties)),
        *((name, c.c_int32) for name in ("top_k", "window", "logprobs")),
    )


def build_library() -> Path:
    """libpocketcl.so, as CMake builds it."""
    sources = library_sources()
    return build("libpocketcl.so", sources, "-shared", *INTO_ONE_FILE)


def load() -> Any:
    """The shared library with its declarations."""
    library = c.CDLL(str(build_library()))
    ints, floats = c.POINTER(c.c_int32), c.POINTER(c.c_float)
    handle, status = c.c_void_p, c.c_int
    declarations: dict[str, tuple[Any, list[Any]]] = {
        "version": (c.c_char_p, []),
        "open": (status, [c.POINTER(Options), c.POINTER(handle)]),
        "close": (None, [handle]),
        **{name: (c.c_char_p, [handle]) for name in ("what", "because", "hint", "info", "stats")},
        **{name: (c.c_int32, [handle]) for name in ("vocab_size", "max_context", "position")},
        "eos": (c.c_size_t, [handle, c.POINTER(ints)]),
        "keep_warm": (status, [handle]),
        "expect": (status, [handle, c.c_int32]),
        "sample": (status, [handle, c.POINTER(Sampling)]),
        "prefill": (status, [handle, ints, c.c_size_t, c.c_int32, ints]),
        "decode": (status, [handle, c.c_int32, c.c_int32, ints]),
        "generate": (
            status,
            [handle, c.c_int32, c.c_int32, c.c_int32, ints, c.c_size_t, OnId, c.c_void_p, ints],
        ),
        "cancel": (None, [handle]),
        "text": (c.c_size_t, [handle, ints, c.c_size_t]),
        "logits": (status, [handle, floats, c.c_size_t]),
        "score": (status, [handle, ints, c.c_size_t, c.c_int32, floats]),
        "logprobs": (status, [handle, c.c_int32, c.c_size_t, floats]),
        "save": (status, [handle, c.c_char_p, c.c_int32]),
        "load": (status, [handle, c.c_char_p, ints]),
    }
    for name, (result, arguments) in declarations.items():
        function = getattr(library, f"pocketcl_{name}")
        function.restype, function.argtypes = result, arguments
    return library


class Refused(Exception):
    """A call that failed."""

    def __init__(self, status: int, texts: Sequence[str]) -> None:
        self.status, (self.what, self.because, self.hint) = status, texts
        super().__init__(f"{status}: {self.what}: {self.because} ({self.hint})")


class Handle:
    """An open plan."""

    def __init__(self, api: Any, plan: Path, **options: str) -> None:
        self.api, self.pointer = api, c.c_void_p()
        words = {"plan": str(plan), **options}
        given = Options(c.sizeof(Options), **{k: v.encode() for k, v in words.items()})
        status = api.pocketcl_open(c.byref(given), c.byref(self.pointer))
        if status:
            try:
                self.check(status)
            finally:
                self.close()

    def call(self, name: str, *arguments: Any) -> Any:
        return getattr(self.api, f"pocketcl_{name}")(self.pointer, *arguments)

    def check(self, status: int) -> None:
        if status:
            texts = [self.call(name).decode() for name in ("what", "because", "hint")]
            raise Refused(status, texts)

    def checked(self, name: str, *arguments: Any) -> None:
        self.check(self.call(name, *arguments))

    def sample(self, settings: Sampling | None) -> None:
        self.checked("sample", c.byref(settings) if settings else None)

    def prefill(self, ids: Sequence[int], past: int) -> int:
        found = c.c_int32()
        self.checked("prefill", array(ids), len(ids), past, c.byref(found))
        return found.value

    def decode(self, token: int, past: int) -> int:
        found = c.c_int32()
        self.checked("decode", token, past, c.byref(found))
        return found.value

    def generate(
        self,
        token: int,
        past: int,
        count: int,
        stop: Sequence[int] | None = (),
        on_id: Callable[[int], int] = lambda _: 0,
    ) -> tuple[list[int], int]:
        """The ids, and why it ended."""
        ids: list[int] = []
        callback = OnId(lambda _, token: ids.append(token) or on_id(token))
        why = c.c_int32(-1)
        stops = (array(stop), len(stop)) if stop is not None else (None, 0)
        self.checked("generate", token, past, count, *stops, callback, None, c.byref(why))
        return ids, why.value

    def floats(self, name: str, count: int, *arguments: Any) -> list[float]:
        """What a call writes into an array of floats, its last argument but for logits."""
        values = (c.c_float * count)()
        order = (values, count) if name == "logits" else (*arguments, values)
        self.checked(name, *order)
        return list(values)

    def text(self, count: int = 4096) -> list[int]:
        ids = (c.c_int32 * count)()
        found = self.call("text", ids, count)
        return list(ids[:found])

    def save(self, path: Path, past: int) -> None:
        self.checked("save", str(path).encode(), past)

    def load(self, path: Path) -> int:
        past = c.c_int32()
        self.checked("load", str(path).encode(), c.byref(past))
        return past.value

    def close(self) -> None:
        pointer, self.pointer = self.pointer, c.c_void_p()
        self.api.pocketcl_close(pointer)


def array(ids: Sequence[int]) -> Any:
    """Ids as C has them; of none a pointer that is not NULL."""
    return (c.c_int32 * max(len(ids), 1))(*ids)
