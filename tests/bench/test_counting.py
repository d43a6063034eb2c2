"""`bench --kernels --count`: how the interpreter reads LLVM, runs waves, and counts."""

from __future__ import annotations

import re

import numpy as np
import pytest

from opencl_kernels.formats import Array
from toolkit.bench import kernel_counts
from toolkit.bench.counting import clang, launches
from toolkit.bench.counting.items import Items
from toolkit.bench.counting.memory import GLOBAL, LOCAL, Buffers, Memory
from toolkit.bench.counting.program import program_of
from toolkit.bench.counting.reader import read_kernel
from toolkit.bench.counting.waves import Issued, run
from toolkit.errors import PocketError

TYPED = {
    "P": "i32 addrspace(1)*",
    "L": "i32 addrspace(3)*",
    "G": "i32 addrspace(4)*",
}  # as Clang wrote pointers up to 16
OPAQUE = {"P": "ptr addrspace(1)", "L": "ptr addrspace(3)", "G": "ptr addrspace(4)"}
HEAD = """
@k.shared = internal addrspace(3) global [8 x i32] undef, align 4
define dso_local spir_kernel void @k(P noundef %0, P noalias noundef align 4 %1) #0 {
  %3 = tail call spir_func i64 @_Z12get_local_idj(i32 noundef 0) #1
  %4 = trunc i64 %3 to i32
"""
ODD = """
  %5 = and i32 %4, 1
  %6 = icmp eq i32 %5, 0
  br i1 %6, label %7, label %8

7:                                                ; preds = %2
  %.even-value = mul nsw i32 %4, 10
  br label %9

8:                                                ; preds = %2
  %.odd-value = add nsw i32 %4, -100
  br label %9

9:                                                ; preds = %8, %7
  %10 = phi i32 [ %.even-value, %7 ], [ %.odd-value, %8 ]
  %11 = getelementptr inbounds i32, P %1, i64 %3
  store i32 %10, P %11, align 4, !tbaa !4
  ret void
}
"""
REVERSED = """
  %5 = getelementptr inbounds [8 x i32], [8 x i32] addrspace(3)* @k.shared, i64 0, i64 %3
  store i32 %4, L %5, align 4
  tail call spir_func void @_Z7barrierj(i32 noundef 1) #1
  %6 = sub i64 7, %3
  %7 = getelementptr inbounds [8 x i32], [8 x i32] addrspace(3)* @k.shared, i64 0, i64 %6
  %8 = load i32, L %7, align 4
  %9 = getelementptr inbounds i32, P %1, i64 %3
  store i32 %8, P %9, align 4
  ret void
}
"""
MISSED = """
  %5 = icmp eq i32 %4, 3
  br i1 %5, label %7, label %6

6:                                                ; preds = %2
  tail call spir_func void @_Z7barrierj(i32 noundef 1) #1
  br label %7

7:                                                ; preds = %6, %2
  ret void
}
"""
NEIGHBOURS = """
  %5 = call spir_func i32 @_Z22get_sub_group_local_idv() #1
  %6 = call spir_func i32 @_Z16get_sub_group_idv() #1
  %7 = call spir_func i32 @_Z21sub_group_shuffle_xorij(i32 noundef %4, i32 noundef 1) #1
  %8 = mul i32 %6, 100
  %9 = mul i32 %5, 10
  %10 = add i32 %8, %9
  %11 = add i32 %10, %7
  %12 = getelementptr inbounds i32, P %1, i64 %3
  store i32 %11, P %12, align 4
  ret void
}
"""
ANYWHERE = """
  %5 = addrspacecast P %1 to G
  %6 = getelementptr inbounds i32, G %5, i64 %3
  store i32 %4, G %6, align 4
  %7 = addrspacecast P %0 to G
  %8 = tail call spir_func <2 x i32> @_Z6vload2mPU3AS4Kj(i64 noundef %3, G noundef %7) #1
  %9 = extractelement <2 x i32> %8, i64 1
  %10 = getelementptr inbounds i32, P %1, i64 %3
  %11 = load i32, P %10, align 4
  %12 = add i32 %9, %11
  store i32 %12, G %6, align 4
  ret void
}
"""
FLAGGED = """
  %5 = sub i32 %4, 4
  %6 = tail call i32 @llvm.abs.i32(i32 %5, i1 true)
  %7 = tail call i32 @llvm.ctlz.i32(i32 %6, i1 false), !range !5
  %8 = tail call spir_func i32 @_Z3absj(i32 noundef %5) #1
  %9 = mul i32 %6, 100
  %10 = add i32 %9, %7
  %11 = add i32 %10, %8
  %12 = getelementptr inbounds i32, P %1, i64 %3
  store i32 %11, P %12, align 4
  ret void
}
"""
OUTSIDE = """
  %5 = getelementptr inbounds i32, P %1, i64 1000000
  store i32 %4, P %5, align 4
  ret void
}
"""
UNKNOWN = """
  %5 = cmpxchg P %0, i32 0, i32 1 acq_rel monotonic
  ret void
}
"""
LOOP = """
  br label %6

5:                                                ; preds = %6
  %.lcssa = phi i32 [ %9, %6 ]
  %13 = getelementptr inbounds i32, P %1, i64 %3
  store i32 %.lcssa, P %13, align 4
  ret void

6:                                                ; preds = %6, %2
  %7 = phi i32 [ 0, %2 ], [ %10, %6 ]
  %8 = phi i32 [ 0, %2 ], [ %9, %6 ]
  %9 = add nuw nsw i32 %8, %7
  %10 = add nuw nsw i32 %7, 1
  %11 = icmp ugt i32 %7, %4
  br i1 %11, label %5, label %6
}
"""


def module(body: str, spelled: dict[str, str]) -> str:
    """LLVM's text of a kernel `k`."""
    text = HEAD + body
    if spelled is OPAQUE:
        text = text.replace("[8 x i32] addrspace(3)*", "ptr addrspace(3)")
    for short, pointer in spelled.items():
        text = re.sub(rf"\b{short}(?=\s)", pointer, text)
    return text


def launched(body: str, spelled: dict[str, str], wave: int) -> tuple[Array, Issued, Buffers]:
    """Eight items of one work-group; what they left in the second buffer."""
    program = program_of(read_kernel(module(body, spelled), "k"))
    buffers = Buffers({"x": np.arange(64, dtype=np.int32), "y": np.zeros(8, np.int32)})
    memory = Memory(buffers, np.zeros(8, np.int64), program.function.local_bytes, 0)
    issued = Issued()
    names = zip(program.function.parameters, buffers.bases, strict=True)
    items = Items((8,), (8,), np.array([0]), wave, memory)
    run(program, items, {name: np.array([base]) for name, base in names}, issued)
    return buffers.content("y"), issued, buffers


@pytest.mark.parametrize("spelled", [TYPED, OPAQUE], ids=["typed", "opaque"])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (ODD, [0, -99, 20, -97, 40, -95, 60, -93]),
        (REVERSED, [7, 6, 5, 4, 3, 2, 1, 0]),
        (LOOP, [1, 3, 6, 10, 15, 21, 28, 36]),
        (ANYWHERE, [1, 4, 7, 10, 13, 16, 19, 22]),
        (FLAGGED, [425, 327, 228, 130, 32, 132, 232, 333]),
    ],
    ids=["branches", "local memory", "loop", "pointers to anywhere", "flags of intrinsics"],
)
def test_items_compute_what_the_text_says(
    body: str, expected: list[int], spelled: dict[str, str]
) -> None:
    for wave in (1, 4, 8):
        found, _, _ = launched(body, spelled, wave)
        np.testing.assert_array_equal(found, expected)


def test_a_wave_is_a_sub_group() -> None:
    found, _, _ = launched(NEIGHBOURS, TYPED, 4)
    np.testing.assert_array_equal(found, [1, 10, 23, 32, 105, 114, 127, 136])


def test_a_wave_pays_for_both_ways_and_for_its_longest_loop() -> None:
    """Alone, each item pays for its own."""
    for body, most in ((ODD, 1), (LOOP, 8)):
        alone, together = (launched(body, TYPED, wave)[1] for wave in (1, 8))
        assert together.instructions * 8 > alone.instructions
        assert together.waves == 1 and alone.waves == 8
        assert together.instructions <= alone.instructions * most
    _, waves_of_two, _ = launched(ODD, TYPED, 2)
    _, waves_of_eight, _ = launched(ODD, TYPED, 8)
    assert waves_of_two.instructions == 4 * waves_of_eight.instructions  # each wave parts


def test_barriers_and_loads_are_counted_by_waves() -> None:
    _, issued, buffers = launched(REVERSED, TYPED, 4)
    assert issued.barriers == issued.waves == 2
    assert issued.loads[LOCAL] == 2 and issued.loads[GLOBAL] == 0
    assert buffers.traffic["y"].written == {64: 2, 128: 2}
    assert buffers.traffic["y"].stores == 8


def test_a_barrier_that_some_items_miss_is_told() -> None:
    with pytest.raises(RuntimeError, match="do not reach a barrier"):
        launched(MISSED, TYPED, 8)


@pytest.mark.parametrize(
    ("stride", "size", "wave", "lines", "wide"),
    [
        (4, 4, 16, 4, 4),  # four waves, each of a whole line, which are halves of wide ones
        (4, 4, 64, 4, 2),
        (16, 16, 64, 16, 8),
        (128, 2, 64, 64, 64),
        (60, 16, 64, 60, 30),  # an access that lies in two lines asks for both
        (0, 4, 64, 1, 1),
    ],
)
def test_lines_of_a_wave(stride: int, size: int, wave: int, lines: int, wide: int) -> None:
    buffers = Buffers({"x": np.zeros(64 * 128, np.uint8)})
    at = buffers.bases[0] + stride * np.arange(64)
    buffers.count(at, size, np.arange(64) // wave, np.zeros(64, np.int64), False)
    assert buffers.traffic["x"].read == {64: lines, 128: wide}


def test_no_access_escapes_its_buffer() -> None:
    buffers = Buffers({"x": np.zeros(10, np.uint8), "y": np.zeros(10, np.uint8)})
    with pytest.raises(IndexError, match="outside all buffers"):
        buffers.count(buffers.bases[:1] + 8, 4, *np.zeros((2, 1), np.int64), True)


def test_what_is_not_known_is_told_by_its_text() -> None:
    with pytest.raises(ValueError, match="cmpxchg"):
        launched(UNKNOWN, TYPED, 8)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (UNKNOWN, "does not know: ValueError: .*cmpxchg"),
        (OUTSIDE, "run in the counter fails: IndexError: an access outside"),
        (MISSED, "run in the counter fails: RuntimeError: .* do not reach a barrier"),
    ],
    ids=["unknown", "outside", "missed"],
)
def test_what_cannot_be_counted_is_told_with_its_kernel_and_case(
    body: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pointer = TYPED["P"]
    text = module(body, TYPED).replace("@k(", f"@rmsnorm({pointer} %x, {pointer} %w, ")
    monkeypatch.setattr(launches, "kernel_ir", lambda *_: text)
    with pytest.raises(PocketError, match=told) as error:
        kernel_counts.count_kernels(("rmsnorm",), "M1_D768", "mali")
    assert error.value.what.startswith("rmsnorm M1_D768")
    assert clang.VARIABLE in error.value.hint
