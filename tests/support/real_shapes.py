"""What real decoders launch on GPUs: every family's cases, with each class's kernels and knobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

from opencl_kernels import FAMILIES, KERNELS, Kernel
from opencl_kernels.attention.heads import Heads
from opencl_kernels.attention.rope_kv import Rotation
from opencl_kernels.case import At, Case
from opencl_kernels.device_class import CLASSES
from opencl_kernels.embedding.embed import Lookup
from opencl_kernels.experts.chosen import Chosen, Mix
from opencl_kernels.family import kernels_for
from opencl_kernels.kernel import Knobs
from opencl_kernels.layouts import F16, Stored, quantized
from opencl_kernels.map.indexed import Operand
from opencl_kernels.map.map import Map
from opencl_kernels.map.maps import Maps, Part
from opencl_kernels.matmul.batched import BatchedProduct, columns_of, rows_of
from opencl_kernels.matmul.glu import Glu
from opencl_kernels.matmul.matmul import Norm, Product
from opencl_kernels.matmul.pair import Pair, Sizes
from opencl_kernels.norm.rmsnorm import Rows
from opencl_kernels.records import choose
from opencl_kernels.records.add_parts import Parts
from opencl_kernels.records.embed_rows import EmbedRows
from opencl_kernels.records.neurons import Neurons
from opencl_kernels.records.products import RecordColumns, RecordRows
from opencl_kernels.records.unpack import Unpack
from opencl_kernels.reduce.reduce import Reduction
from opencl_kernels.rows.rows import SOFTMAX
from opencl_kernels.rows.rows import Rows as Scaled
from opencl_kernels.sampling.sample import Choice
from opencl_kernels.scan.groups import Groups
from opencl_kernels.scan.scan import Scan
from opencl_kernels.scan.scatter import Scatter
from opencl_kernels.scan.topk import TopK
from opencl_kernels.tuned import usual_knobs

ROOM = 32768  # bytes of local memory that a phone's GPU has
BAR = 24576  # that a kernel takes at most: compilers take some of it for themselves
GPUS = tuple(name for name, each in CLASSES.items() if not each.is_cpu)
VALUES = {"DeepSeek V3": 128}  # their width, where it is not that of keys
SHAPES = {  # H, G, K, D, F, V, from the models' config.json
    "Gemma 2B": (8, 1, 256, 2048, 16384, 256000),
    "Gemma 7B": (16, 16, 256, 3072, 24576, 256000),
    "Gemma 2 2B": (8, 4, 256, 2304, 9216, 256000),
    "Gemma 2 9B": (16, 8, 256, 3584, 14336, 256000),
    "Gemma 2 27B": (32, 16, 128, 4608, 36864, 256000),
    "Gemma 3 1B": (4, 1, 256, 1152, 6912, 262144),
    "Gemma 3 4B": (8, 4, 256, 2560, 10240, 262208),
    "ChatGLM2 6B": (32, 2, 128, 4096, 13696, 65024),
    "Falcon 7B": (71, 1, 64, 4544, 18176, 65024),
    "Falcon 40B": (128, 8, 64, 8192, 32768, 65024),
    "StarCoder": (48, 1, 128, 6144, 24576, 49152),
    "StarCoderBase 1B": (16, 1, 128, 2048, 8192, 49152),
    "Llama 2 7B": (32, 32, 128, 4096, 11008, 32000),
    "Llama 3.2 1B": (32, 8, 64, 2048, 8192, 128256),
    "Llama 3.2 3B": (24, 8, 128, 3072, 8192, 128256),
    "TinyLlama 1.1B": (32, 4, 64, 2048, 5632, 32000),
    "Qwen2.5 0.5B": (14, 2, 64, 896, 4864, 151936),
    "Qwen2.5 1.5B": (12, 2, 128, 1536, 8960, 151936),
    "Qwen2.5 7B": (28, 4, 128, 3584, 18944, 152064),
    "Qwen3 0.6B": (16, 8, 128, 1024, 3072, 151936),
    "Mistral 7B": (32, 8, 128, 4096, 14336, 32000),
    "Phi-3 mini": (32, 32, 96, 3072, 8192, 32064),
    "Phi-4 mini": (24, 8, 128, 3072, 8192, 200064),
    "SmolLM2 1.7B": (32, 32, 64, 2048, 8192, 49152),
    "gpt-oss 20B": (64, 8, 64, 2880, 2880, 201088),
    "DeepSeek V3": (128, 128, 192, 7168, 18432, 129280),
    "128 heads on one": (128, 1, 128, 4096, 16384, 32000),
    "wide heads on one": (128, 1, 512, 4096, 16384, 32000),
}
WEIGHTS = {
    "e0m4": quantized("e0m4", 32, "f16", "u8"),
    "q8": quantized("q8", 32, "f16"),
    "f16": F16,
}
FLOATS = ("f16", "f32")
# Defines that no array's size and no loop's form depends on; widths of heads are none of them.
SIZES = ("N", "F", "V", "D", "LDX", "LDY", "C", "CTX", "G", "OUTER", "INNER")


class Launch(NamedTuple):
    """A kernel as a class of devices launches it."""

    kernel: Kernel
    case: Case
    knobs: Knobs


def launches(model: str, device_class: str, floats: str, weight: str) -> Iterator[Launch]:
    """What a model's phases launch, each kernel that the class may use: preferred or next.

    floats  the type of activations and of the KV cache
    """
    for family, case in cases_of(model, floats, WEIGHTS[weight]):
        for kernel in kernels_for(FAMILIES[family], device_class, case):
            knobs = usual_knobs(kernel, case, device_class, ROOM)
            assert knobs is not None, (kernel.name, case)
            yield Launch(kernel, case, knobs)


def cases_of(model: str, floats: str, w: Stored) -> Iterator[tuple[str, Case]]:
    """Cases of the phases of such a model by family: many rows, a few, then one."""
    yield from _products(model, floats, w)
    yield from _attention(model, floats)
    yield from _of_rows(model, floats, w)
    yield from _records(SHAPES[model][3], floats, w)
    yield from _generated(SHAPES[model][3], floats)


def _products(model: str, floats: str, w: Stored) -> Iterator[tuple[str, Case]]:
    """Projections, with the norm before them where there are few rows; experts."""
    H, G, K, D, F, V = SHAPES[model]
    stored: dict[str, Any] = {"x": floats, "y": floats, "w": w}
    behind_norms = (
        Product(M=1, N=(H + 2 * G) * K, K=D, bias=True, **stored),
        Product(M=1, N=2 * F, K=D, glu=Glu(F), **stored),
        Product(M=1, N=V, K=D, **stored | {"y": "f32"}),
    )
    others = (
        Product(M=1, N=D, K=H * K, residual=True, **stored),
        Product(M=1, N=D, K=F, residual=True, **stored),
    )
    for each in (*behind_norms, *others):
        yield "gemm", replace(each, M=256, at=At(seq=256))
        yield from (("gemv", replace(each, M=rows, at=At(seq=rows))) for rows in (4, 1))
    for each in behind_norms:
        yield "gemv", replace(each, norm=Norm(1e-6), at=At())
        yield "gemv", replace(each, norm=Norm(1e-6), sum_eps=1e-6, keeps_norm=True, at=At())
    latents = (Sizes(H * K, 1536), Sizes(2 * H * K, 512))
    yield "gemv_pair", Pair(M=1, products=latents, norm=Norm(1e-6), x=floats, w=w, at=At())
    gates = (Operand("f32", 8),)
    for rows in (256, 1):
        chosen = Chosen(M=rows, choices=8, E=32, N=2 * F, K=D, glu=Glu(F), **stored)
        mixed = replace(chosen, N=D, K=F, glu=None, shared=False, mix=Mix("a0[i1]"), inputs=gates)
        yield from (("experts", each) for each in (chosen, mixed))


def _records(D: int, floats: str, w: Stored) -> Iterator[tuple[str, Case]]:
    """Neurons of a gated unit that are read from a table; no table holds codes of 8 bits."""
    if w.bits == 8:
        return
    half: dict[str, Any] = {"M": 1, "x": floats}
    table: dict[str, Any] = {"PARTS": 3, "D": D, "w": w, "S": 1024, "T": 512, "F": 4 * D}
    yield "neurons", Neurons(G=16, **half, **table)
    yield "record_rows", RecordRows(**half, **table)
    yield "columns", RecordColumns(G=16, **half, **table)
    yield "unpack", Unpack(pair=True, **table)
    yield "unpack", Unpack(part=2, **table)
    yield "add_parts", Parts(D=D, G=16, y=floats, residual=True, **half)
    yield "embed_rows", EmbedRows(M=256, y=floats, **{**table, "PARTS": 1}, at=At(seq=256))
    yield "choose", choose.Choice(F=4 * D, ordered=True)


def _attention(model: str, floats: str) -> Iterator[tuple[str, Case]]:
    H, G, K, *_ = SHAPES[model]
    stored: dict[str, Any] = {"x": floats, "y": floats, "kv": floats}
    one = Heads(
        M=1, H=H, G=G, K=K, V=VALUES.get(model, 0), C=4096, SCALE=K**-0.5, at=At(), **stored
    )
    biased = {"score": "50.0 * Tanh(s * 0.02) + a0[i1]", "inputs": (Operand("f32", H),)}
    for each in (one, replace(one, **biased), replace(one, WINDOW=512, ring=True)):
        yield "attention_prefill", replace(each, M=256, at=At(seq=256))
        yield "attention_decode", each
        yield "attention_split", replace(each, SPLITS=16)
    yield "attention_combine", replace(one, SPLITS=16)


def _of_rows(model: str, floats: str, w: Stored) -> Iterator[tuple[str, Case]]:
    """Embedding, norms, rotations; the next id."""
    H, G, K, D, _, V = SHAPES[model]
    stored: dict[str, Any] = {"x": floats, "y": floats}
    heads: dict[str, Any] = {"H": H, "G": G, "K": K, "C": 4096, "kv": floats, **stored}
    for rows in (256, 1):
        at = At(seq=rows)
        yield "embed", Lookup(M=rows, V=V, D=D, w=w, y=floats, at=at)
        yield "rmsnorm", Rows(M=rows, D=D, EPS=1e-6, at=at, **stored)
        yield "add_rmsnorm", Rows(M=rows, D=D, EPS=1e-6, at=at, **stored)
        for norm in ("", "rms"):
            yield "rope_kv", Rotation(M=rows, R=K, CTX=4096, norm=norm, EPS=1e-6, at=at, **heads)
    for name in ("sample", "sample_best", "sample_weights", "sample_pick"):
        yield name, Choice(M=1, V=V, C=4096, GROUPS=24)


def _generated(D: int, floats: str) -> Iterator[tuple[str, Case]]:
    """Families of expressions, as where no fusion knows a model."""
    pair = (Operand(floats, 256 * D), Operand(floats, 256 * D))
    total = Map(axes=(256 * D,), value="a0[i0] + a1[i0]", inputs=pair, y=floats)
    yield "map", total
    yield "map", replace(total, axes=(256, D), value=f"a0[{D}*i0 + i1] * Tanh(a1[i1])")
    part = Part(axes=(256 * D,), value="a0[i0] + a1[i0]", y=floats)
    yield "maps", Maps(parts=(part, replace(part, value="a0[i0]")), inputs=pair)
    yield "rows", Scaled(axes=(256, D), x=f"a0[{D}*i0 + i1]", inputs=pair[:1], by=SOFTMAX)
    square = {"left": rows_of("0", str(D)), "right": columns_of("0", str(D))}
    yield "batched_gemm", BatchedProduct(axes=(256, 256, D), inputs=pair, **square)
    row: dict[str, Any] = {"axes": (256, D), "x": f"a0[{D}*i0 + i1]", "inputs": pair[:1]}
    yield from (("reduce", Reduction(op=op, reduced=1, **row)) for op in ("sum", "max"))
    scores = (Operand(floats, 8192),)
    element: dict[str, Any] = {"axes": (256, 32), "x": "a0[32*i0 + i1]", "inputs": scores}
    yield "scan", Scan(op="sum", **element)
    for more in ({}, {"by": SOFTMAX}, {"groups": Groups(4, 2, 2)}):
        yield "topk", TopK(k=8, **element, **more)
    pick: dict[str, Any] = {"into": "32*i0 + i1", "elements": 8192, "serial": 1}
    yield "scatter", Scatter(axes=(256, 32), value="a0[32*i0 + i1]", inputs=scores, **pick)


def distinct(
    models: Iterable[str], floats: Iterable[str] = FLOATS, weights: Iterable[str] = WEIGHTS
) -> Iterator[Launch]:
    """Launches of the models on all classes whose programs differ by more than a size."""
    seen = set()
    for setting in product(models, GPUS, floats, weights):
        for launch in launches(*setting):
            defines = launch.kernel.defines(launch.case, launch.knobs)
            options = ((name, value) for name, value in defines.items() if name not in SIZES)
            if (key := (launch.kernel.name, *options)) not in seen:
                seen.add(key)
                yield launch


def of_gpus() -> set[str]:
    """Kernels that are made for some GPU."""
    return {name for name, kernel in KERNELS.items() if {*kernel.classes} & {*GPUS}}
