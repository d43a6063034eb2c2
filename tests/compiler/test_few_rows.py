"""Products of few rows: which kernels take them, and which of them begin with their norm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import sympy
from exports import DEMO

import toolkit
from opencl_kernels import FAMILIES
from opencl_kernels.case import At, symbols_of_texts
from opencl_kernels.device_class import CLASSES
from opencl_kernels.layouts import F16, F32, Stored, quantized
from opencl_kernels.matmul.matmul import Norm, Product
from toolkit.compiler.lowering.variants import Programs, Settings, variants_of
from toolkit.plan.schema import Plan


def first_kernels(plan: Plan, phase: str) -> list[str]:
    """The first kernel of each dispatch of a phase."""
    found = next(each for each in plan.phases if each.name == phase)
    return [plan.programs[step.variants[0].program].kernel for step in found.dispatches()]


@pytest.mark.parametrize("weights", [pytest.param("f16", marks=pytest.mark.slow), "e0m4"])
def test_rows_of_a_batch_share_weights_on_gpus(weights: str, tmp_path: Path) -> None:
    """And have their norms before them, not in each work-group again."""
    one, three = (
        toolkit.compile(DEMO, tmp_path / str(batch), device="adreno", weights=weights, batch=batch)
        for batch in (1, 3)
    )
    alone, together = (first_kernels(plan, "decode") for plan in (one.plan, three.plan))
    kernel = "gemv_half" if weights == "e0m4" else "gemv"
    assert alone.count(kernel) == together.count(kernel) > 0
    assert not {"gemm", "rmsnorm"} & {*alone}
    assert "gemm" not in together


FLOATS = ["gemm_tiled", "gemm"]
E0M4, Q8 = (quantized(dtype, 32, "f16") for dtype in ("e0m4", "q8"))
MANY = Product(M=sympy.Symbol("seq"), N=64, K=96, x="f16", at=At())


@pytest.mark.parametrize(
    ("device_class", "w", "kernels"),
    [
        ("adreno", E0M4, ["gemm_half 8 image", "gemm_half 8", "gemm_half 4"]),
        ("mali", E0M4, ["gemm_half 4"]),
        ("mali", Q8, ["gemm_half_q8 6", "gemm_half_q8 4"]),
        ("generic", F16, ["gemm_half_f16 8", "gemm_half_f16 4"]),
        ("adreno", F32, []),
    ],
    ids=["adreno e0m4", "mali e0m4", "mali q8", "generic f16", "adreno f32"],
)
@pytest.mark.parametrize("x", ["f16", "f32"])
def test_prefill_has_tiles_of_fewer_rows_in_reserve(
    device_class: str, w: Stored, kernels: list[str], x: str
) -> None:
    """The number is MB; rows of floats, and weights in floats, are multiplied as floats.

    What reads x as an image has one behind it that doesn't.
    """
    programs, found = Programs(), CLASSES[device_class]
    settings = Settings(found, symbols_of_texts(1), 1, 64, "f16", "f16", 1, 32768)
    case = replace(MANY, w=w, x=x)
    made = variants_of("p", FAMILIES["gemm"], case, settings, programs)
    each = [list(programs.index)[variant.program] for variant in made]
    assert [p.kernel for p in each][-2:] == FLOATS
    image = [" image" * ("X_IMAGE" in dict(p.defines)) for p in each]
    halves = [
        f"{p.kernel} {dict(p.defines)['MB']}{i}" for p, i in zip(each[:-2], image[:-2], strict=True)
    ]
    assert halves == (kernels if x == "f16" else [])


ONE_ROW = replace(MANY, M=1, w=E0M4)


@pytest.mark.parametrize(
    ("device_class", "case", "reads"),
    [
        ("adreno", ONE_ROW, True),
        ("adreno", replace(MANY, w=Q8, LDX=128, X0=32), True),
        ("adreno", replace(MANY, w=F16), True),
        ("adreno", replace(MANY, w=E0M4, LDX=100), False),  # rows that begin within a texel
        ("adreno", replace(MANY, w=E0M4, LDX=128, X0=4), False),
        ("adreno", replace(ONE_ROW, norm=Norm(1e-6)), False),  # x is read once, and in floats
        ("adreno", replace(ONE_ROW, w=Q8), False),  # half a texel for each word of codes
        ("mali", ONE_ROW, False),
        ("generic", replace(MANY, w=E0M4), False),
    ],
)
def test_what_adreno_reads_as_an_image(device_class: str, case: Product, reads: bool) -> None:
    """x, the first argument behind the symbols; where a device can't, as a buffer."""
    settings = Settings(CLASSES[device_class], symbols_of_texts(1), 1, 64, "f16", "f16", 1, 32768)
    family = FAMILIES["gemv" if case.M == 1 else "gemm"]
    first, *others = variants_of("p", family, case, settings, Programs())
    assert first.images == ((1,) if reads else ())
    assert ("images" in first.requires) == reads
    assert "fp16" in first.requires and not any(each.images for each in others)
    if reads:
        without = replace(first, program=others[0].program, requires=("fp16",), images=())
        assert others[0] == without


def test_prefill_of_processors_is_as_it_was() -> None:
    settings = Settings(CLASSES["cpu"], symbols_of_texts(1), 1, 64, "f32", "f32", 8, 32768)
    for x in ("f32", "f16"):
        programs, case = Programs(), replace(MANY, w=F16, x=x)
        variants_of("p", FAMILIES["gemm"], case, settings, programs)
        assert [each.kernel for each in programs.index] == ["gemm_cpu", "gemm"]
