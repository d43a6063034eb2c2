"""Two products of few rows in one launch, of rows, matrices and sizes of their own.

For those that don't depend on each other, such as of queries and of keys of low rank (DeepSeek-V2,
2024, section 2.1): each alone fills no device, and a launch costs as much as a small product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

from opencl_kernels.case import At, Case, Defines, Size
from opencl_kernels.family import Family
from opencl_kernels.formats import Array
from opencl_kernels.kernel import Argument, Grid, Kernel, Knobs, Requires, worker_grid
from opencl_kernels.layouts import F16, F32, Stored, quantized
from opencl_kernels.matmul import gemv, matmul, strips
from opencl_kernels.matmul.matmul import Norm, Product


@dataclass(frozen=True)
class Sizes:
    """Of one product and its rows, as a Product has them."""

    N: int
    K: int
    LDX: int = 0
    X0: int = 0


@dataclass(frozen=True, kw_only=True)
class Pair(Case):
    """y_j[M, N_j] = norm(x_j[M, K_j]) W_j[N_j, K_j]^T + bias_j, for j = 0 and 1."""

    M: Size
    products: tuple[Sizes, Sizes]
    x: str = "f32"
    y: str = "f32"
    w: Stored = F32
    norm: Norm | None = None
    normed_as: str = ""
    bias: bool = False

    def __post_init__(self) -> None:
        """Refuse what nothing computes."""
        self.each()

    def each(self) -> tuple[Product, Product]:
        """Both as cases of their own."""
        shared = {each.name: getattr(self, each.name) for each in fields(self)}
        first, second = shared.pop("products")
        return Product(**vars(first), **shared), Product(**vars(second), **shared)

    @property
    def N(self) -> tuple[int, int]:
        """Columns of the products."""
        first, second = self.products
        return first.N, second.N

    @property
    def K(self) -> tuple[int, int]:
        """Depths of the products."""
        first, second = self.products
        return first.K, second.K


def pair_of(first: Product, second: Product) -> Pair | None:
    """Two products as a pair; None where one launch can't compute both."""
    shared = {f.name: getattr(first, f.name) for f in fields(Pair) if f.name != "products"}
    pair = Pair(products=(_sizes(first), _sizes(second)), **shared)
    return pair if pair.each() == (first, second) else None


def _sizes(case: Product) -> Sizes:
    return Sizes(**{each.name: getattr(case, each.name) for each in fields(Sizes)})


def _reference(inputs: Mapping[str, Array], case: Pair) -> dict[str, Array]:
    """One after the other."""
    found = dict[str, Array]()
    for j, each in enumerate(case.each()):
        own = {a.name: inputs[_named(a.name, j)] for a in _read(each)}
        found[_named("y", j)] = matmul.reference(own, each)["y"]
    return found


def _read(case: Product) -> list[Argument]:
    return [each for each in matmul.arguments(case) if each.role != "out"]


def _named(name: str, j: int) -> str:
    """What an argument of product j is called."""
    return f"{name}_{j}"


def _arguments(case: Pair) -> tuple[Argument, ...]:
    """Those of the first, then those of the second."""
    return tuple(
        replace(argument, name=_named(argument.name, j))
        for j, each in enumerate(case.each())
        for argument in matmul.arguments(each)
    )


def _work(case: Pair) -> tuple[int, int]:
    (bytes_0, flops_0), (bytes_1, flops_1) = map(matmul.work, case.each())
    return bytes_0 + bytes_1, flops_0 + flops_1


OF_EACH = ("N", "K", "LDX", "X0", "LDY")  # of defines: other ones are the same of both


def _defines(case: Pair, knobs: Knobs) -> Defines:
    """Sizes bear the number of their product; all columns of y are its own."""
    found = {k: v for k, v in matmul.defines(case.each()[0]).items() if k not in OF_EACH}
    for j, each in enumerate(case.each()):
        own: Defines = {"N": each.N, "K": each.K, "LDX": each.LDX or each.K, "X0": each.X0}
        found |= {_named(name, j): size for name, size in own.items()}
    return {**found, **{name: value for name, value in knobs.items() if name != "WORKERS"}}


def _suited(case: Pair, knobs: Knobs) -> Knobs:
    """The knobs with strips for both products, and a run that a slice of either can take."""
    knobs = strips.suited(knobs, case.w.bits, *case.K)
    knobs = {**knobs, "STRIPS": strips.together(sum(case.N), case.norm is not None, knobs)}
    if not case.w.bits:
        return knobs
    return {**knobs, "RUN": min(strips.run(each, knobs) for each in case.each())}


def keeps_runs(case: Pair, knobs: Knobs) -> bool:
    """Whether the larger product's runs of words are half of what they are alone, or more.

    A product of few inputs has short ones, which both then have: the larger one may lose more by
    that than a launch costs. Kernels whose knobs have no RUN share none.
    """
    if "RUN" not in knobs or not case.w.bits:
        return True
    larger, suited = max(case.each(), key=lambda each: each.N * each.K), _suited(case, knobs)
    alone = strips.suited(knobs, case.w.bits, larger.K)
    return 2 * suited["RUN"] >= strips.run(larger, alone)


def _strip_defines(case: Pair, knobs: Knobs) -> Defines:
    return {**_defines(case, _suited(case, knobs)), "MB": strips.rows(case, knobs)}


def _float_defines(case: Pair, knobs: Knobs) -> Defines:
    return {**_strip_defines(case, knobs), **gemv.staged_defines(_staged(case, knobs))}


def _staged(case: Pair, knobs: Knobs) -> int:
    """Of both products, if there is room for either's."""
    floats = [strips.staged(each, _suited(case, knobs)) for each in case.each()]
    return max(floats) if all(floats) else 0


def _half_defines(case: Pair, knobs: Knobs) -> Defines:
    """A run may be shorter than what halves could hold."""
    most = _suited(case, knobs)["RUN"] * 32 // case.w.bits
    return {**_strip_defines(case, knobs), "HELD": min(knobs["HELD"], most)}


def _strip_grid(case: Pair, knobs: Knobs) -> Grid:
    """Groups of the first product, then of the second."""
    suited = _suited(case, knobs)
    grids = [gemv.strip_grid(each, suited) for each in case.each()]
    (first, rows), local = grids[0]
    return (first + grids[1][0][0], rows), local


def _largest(requires: Callable[[Product, Knobs], Requires]) -> Callable[[Pair, Knobs], Requires]:
    """What a product takes of a device, of the one that takes more local memory."""

    def of_both(case: Pair, knobs: Knobs) -> Requires:
        suited = _suited(case, knobs)
        return max((requires(each, suited) for each in case.each()), key=lambda r: r.local_bytes)

    return of_both


def _float_requires(case: Pair, knobs: Knobs) -> Requires:
    sums = _largest(gemv.strip_requires)(case, knobs)
    return Requires(local_bytes=sums.local_bytes + 4 * _staged(case, knobs))


ONE = At(seq=1)
QUANTIZED_CASES = (
    Pair(M=1, products=(Sizes(7, 3), Sizes(65, 63)), w=quantized("e0m4", 16, "f16")),
    Pair(M=1, products=(Sizes(65, 63, 104, 41), Sizes(33, 41, 104)), norm=Norm(1e-5), at=ONE,
         w=quantized("e0m4", 32, "f16", "u8"), bias=True),
    Pair(M=2, products=(Sizes(31, 257), Sizes(1, 64)), w=quantized("q8", 64, "f32", "f16"), B=2,
         norm=Norm(1e-5, True, True), at=ONE),
    Pair(M=3, products=(Sizes(97, 48, 83), Sizes(130, 35, 83, 48)), norm=Norm(1e-6), y="f16",
         w=quantized("e0m4", 16, "f32", "f32"), at=At(seq=3)),
    Pair(M=1, products=(Sizes(530, 320), Sizes(1030, 129)), w=quantized("e0m4", 32, "f16", "u8")),
)  # fmt: skip
HALF_CASES = (
    Pair(M=1, products=(Sizes(65, 96, 160), Sizes(97, 63, 160, 96)), norm=Norm(1e-6), x="f16",
         y="f16", w=quantized("e0m4", 32, "f16", "u8"), at=ONE),
    Pair(M=1, products=(Sizes(35, 7), Sizes(33, 1032)), x="f16", w=quantized("e0m4", 128, "f16")),
    Pair(M=5, products=(Sizes(70, 131), Sizes(33, 300)), x="f16", w=quantized("q8", 16, "f32"),
         norm=Norm(1e-5, True, True), bias=True, at=At(seq=5)),
    Pair(M=2, products=(Sizes(33, 65), Sizes(65, 33)), w=quantized("q8", 32, "f16", "u8"), B=2,
         norm=Norm(1e-6), normed_as="f16", at=ONE),
    Pair(M=1, products=(Sizes(192, 1536, 2112), Sizes(256, 512, 2112, 1536)), x="f16", y="f16",
         w=quantized("e0m4", 32, "f16", "u8"), norm=Norm(1e-6), at=ONE),
)  # fmt: skip
FLOAT_CASES = (
    Pair(M=1, products=(Sizes(7, 3), Sizes(65, 63))),
    Pair(M=1, products=(Sizes(65, 63, 104, 41), Sizes(33, 41, 104)), norm=Norm(1e-5), at=ONE),
    Pair(M=3, products=(Sizes(33, 15), Sizes(48, 130)), x="f16", y="f16", w=F16, bias=True, B=3,
         norm=Norm(1e-5, True, True), at=ONE),
    Pair(M=1, products=(Sizes(530, 257), Sizes(97, 64)), w=F16, norm=Norm(1e-6)),
)  # fmt: skip
LATENT = (Sizes(24576, 1536, 2112), Sizes(32768, 512, 2112, 1536))  # DeepSeek V3
BENCH = tuple(
    Pair(M=1, products=LATENT, norm=Norm(1e-6), x=x, y=x, w=w, at=ONE)
    for x, w in (("f32", F16), ("f16", quantized("e0m4", 32, "f16", "u8")))
)

GEMV_PAIR_QUANTIZED_CPU = Kernel(
    name="gemv_pair_quantized_cpu",
    source="gemv_pair_quantized_cpu.cl",
    classes=("cpu",),
    defines=_defines,
    grid=worker_grid,
    knobs=gemv.GEMV_QUANTIZED_CPU.knobs,
    supports=gemv.supports_codes,
)
GEMV_PAIR_CPU = Kernel(
    name="gemv_pair_cpu",
    source="gemv_pair_cpu.cl",
    classes=("cpu",),
    defines=_defines,
    grid=worker_grid,
    knobs=gemv.GEMV_CPU.knobs,
    supports=gemv.supports_floats,
)
GEMV_PAIR_HALF = Kernel(
    name="gemv_pair_half",
    source="gemv_pair_half.cl",
    classes=gemv.GEMV_HALF.classes,
    defines=_half_defines,
    grid=_strip_grid,
    cuts=0,
    knobs=gemv.HALF_KNOBS,
    supports=gemv.supports_halves,
    requires=_largest(gemv.half_requires),
)
GEMV_PAIR = Kernel(
    name="gemv_pair",
    source="gemv_pair.cl",
    classes=gemv.GEMV.classes,
    defines=_float_defines,
    grid=_strip_grid,
    cuts=0,
    knobs=gemv.GEMV.knobs,
    requires=_float_requires,
)
FAMILY = Family(
    name="gemv_pair",
    case=Pair,
    arguments=_arguments,
    reference=_reference,
    work=_work,
    cases=QUANTIZED_CASES + HALF_CASES + FLOAT_CASES,
    bench_cases=BENCH,
    kernels=(GEMV_PAIR_QUANTIZED_CPU, GEMV_PAIR_CPU, GEMV_PAIR_HALF, GEMV_PAIR),
    shares_of="gemv",
)
