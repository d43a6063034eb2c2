"""Kernels of phones' GPUs fit into their local memory, 32 KiB, whatever the model's heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from opencl_kernels import KERNELS, Kernel, family_of
from opencl_kernels.attention.heads import Heads
from opencl_kernels.attention.rope_kv import Rotation
from opencl_kernels.case import At, Case
from opencl_kernels.embedding.embed import Lookup
from opencl_kernels.experts.chosen import Chosen
from opencl_kernels.family import random_inputs
from opencl_kernels.kernel import Knobs
from opencl_kernels.launch import GUARD, launch
from opencl_kernels.layouts import F16, quantized
from opencl_kernels.map.indexed import Operand
from opencl_kernels.map.map import Map
from opencl_kernels.map.maps import Maps, Part
from opencl_kernels.matmul.batched import BatchedProduct, columns_of, rows_of
from opencl_kernels.matmul.glu import Glu
from opencl_kernels.matmul.matmul import Norm, Product
from opencl_kernels.matmul.pair import Pair, Sizes
from opencl_kernels.norm.rmsnorm import Rows
from opencl_kernels.records.add_parts import Parts
from opencl_kernels.records.neurons import Neurons
from opencl_kernels.records.products import RecordColumns, RecordRows
from opencl_kernels.records.unpack import Unpack
from opencl_kernels.reduce.reduce import Reduction
from opencl_kernels.rows.rows import SOFTMAX
from opencl_kernels.rows.rows import Rows as Scaled
from opencl_kernels.sampling.sample import Choice
from opencl_kernels.scan.scan import Scan
from opencl_kernels.scan.scatter import Scatter
from opencl_kernels.scan.topk import TopK
from opencl_kernels.tuned import usual_knobs

ROOM = 32768
SAFE_ROOM = 24576  # compilers take some of it for themselves
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
GENERIC = {name for name, kernel in KERNELS.items() if "generic" in kernel.classes}
CODES = quantized("e0m4", 32, "f16", "u8")


def cases_of(model: str) -> Iterator[tuple[str, Case]]:
    """What the phases of such a model launch: many rows, then one."""
    H, G, K, D, F, V = SHAPES[model]
    sizes: dict[str, Any] = {"H": H, "G": G, "K": K, "C": 4096, "kv": "f16"}
    products = (
        Product(M=1, N=(H + 2 * G) * K, K=D, w=CODES, bias=True),
        Product(M=1, N=D, K=H * K, w=CODES, residual=True),
        Product(M=1, N=2 * F, K=D, w=CODES, glu=Glu(F)),
        Product(M=1, N=D, K=F, w=CODES, residual=True),
        Product(M=1, N=V, K=D, w=CODES),
    )
    for rows in (256, 1):
        yield "embed", Lookup(M=rows, V=V, D=D, w=CODES)
        yield "rmsnorm", Rows(M=rows, D=D, EPS=1e-6)
        yield "add_rmsnorm", Rows(M=rows, D=D, EPS=1e-6)
        yield "rope_kv", Rotation(M=rows, R=K, CTX=4096, **sizes)
        for each in products:
            yield "gemm", replace(each, M=rows)
            yield "gemm_tiled", replace(each, M=rows)
            yield "gemm_half", replace(each, M=rows, x="f16")
            yield "gemm_half_q8", replace(each, M=rows, x="f16", w=quantized("q8", 32, "f16"))
            yield "gemm_half_f16", replace(each, M=rows, x="f16", w=F16)
        yield "experts", Chosen(M=rows, choices=8, E=32, N=2 * F, K=D, w=CODES, glu=Glu(F))
    for each in products:
        yield "gemv", replace(each, norm=Norm(1e-6))
        yield "gemv_half", replace(each, x="f16", norm=Norm(1e-6) if each.K == D else None)
    latents = Pair(
        M=1, products=(Sizes(H * K, 1536), Sizes(2 * H * K, 512)), w=CODES, norm=Norm(1e-6)
    )
    yield "gemv_pair", latents
    yield "gemv_pair_half", replace(latents, x="f16")
    one = Heads(M=1, V=VALUES.get(model, 0), SCALE=K**-0.5, at=At(seq=1), **sizes)
    yield "attention_prefill", replace(one, M=256, at=At(seq=256))
    yield "attention_decode", one
    yield "attention_split", replace(one, SPLITS=16)
    yield "attention_combine", replace(one, SPLITS=16)
    halves = replace(one, x="f16", y="f16")
    yield "attention_prefill_half", replace(halves, M=256, at=At(seq=256))
    yield "attention_decode_half", halves
    yield "attention_split_half", replace(halves, SPLITS=16)
    yield "attention_decode_shuffle", halves
    yield "attention_split_shuffle", replace(halves, SPLITS=16)
    for name in ("sample", "sample_best", "sample_weights", "sample_pick"):
        yield name, Choice(M=1, V=V, C=4096, GROUPS=24)
    pair = (Operand("f16", 256 * D), Operand("f16", 256 * D))
    yield "map", Map(axes=(256 * D,), value="a0[i0] + a1[i0]", inputs=pair)
    part = Part(axes=(256 * D,), value="a0[i0] + a1[i0]", y="f16")
    yield "maps", Maps(parts=(part, replace(part, value="a0[i0]")), inputs=pair)
    yield "rows", Scaled(axes=(256, D), x=f"a0[{D}*i0 + i1]", inputs=pair[:1], by=SOFTMAX)
    square = {"left": rows_of("0", str(D)), "right": columns_of("0", str(D))}
    yield "batched_gemm", BatchedProduct(axes=(256, 256, D), inputs=pair, **square)
    row = {"axes": (256, D), "reduced": 1, "x": f"a0[{D}*i0 + i1]", "inputs": pair[:1]}
    yield "reduce", Reduction(op="sum", **row)
    element = {"axes": (256, 32), "x": "a0[32*i0 + i1]", "inputs": (Operand("f16", 8192),)}
    yield "scan", Scan(op="sum", **element)
    yield "topk", TopK(k=8, **element)
    yield "topk_short", TopK(k=8, **element)
    pick = {"value": "a0[32*i0 + i1]", "into": "32*i0 + i1", "elements": 8192, "serial": 1}
    yield "scatter", Scatter(axes=(256, 32), inputs=element["inputs"], **pick)
    table: dict[str, Any] = {"PARTS": 3, "D": D, "w": CODES, "S": 1024, "T": 512, "F": F}
    yield "neurons", Neurons(M=1, G=16, x="f16", **table)
    yield "record_rows", RecordRows(M=1, x="f16", **table)
    yield "columns", RecordColumns(M=1, G=16, x="f16", **table)
    yield "unpack", Unpack(pair=True, **table)
    yield "add_parts", Parts(M=1, D=D, G=16, x="f16", y="f16", residual=True)


def test_every_kernel_of_gpus_is_counted() -> None:
    assert {name for name, _ in cases_of("Gemma 2B")} == GENERIC


@pytest.mark.parametrize("model", SHAPES)
def test_kernels_of_real_models_fit(model: str) -> None:
    for name, case in cases_of(model):
        if KERNELS[name].supports(case) and "shuffle" in name:
            continue
        knobs = usual_knobs(KERNELS[name], case, "generic", ROOM)
        assert knobs is not None, (name, case)
        assert KERNELS[name].requires(case, knobs).local_bytes <= ROOM


@pytest.mark.parametrize("model", SHAPES)
def test_attention_and_prefill_leave_room_for_the_compiler(model: str) -> None:
    for name, case in cases_of(model):
        of_room = name.startswith(("attention", "gemm"))
        if of_room and KERNELS[name].supports(case) is None:
            knobs = usual_knobs(KERNELS[name], case, "generic", ROOM)
            assert knobs is not None
            assert KERNELS[name].requires(case, knobs).local_bytes <= SAFE_ROOM, (name, case)


def test_common_shapes_keep_the_defaults() -> None:
    """Fewer heads or tokens in a group only where all are too much."""
    for model in ("Llama 2 7B", "Llama 3.2 1B", "Qwen2.5 1.5B", "Mistral 7B", "Gemma 2 2B"):
        for name, case in cases_of(model):
            if name.startswith("attention"):
                usual = usual_knobs(KERNELS[name], case, "generic", 1 << 40)
                assert usual_knobs(KERNELS[name], case, "generic", ROOM) == usual


LAUNCHES = {
    "attention_prefill": Heads(M=7, H=1, G=1, K=1, C=20, WINDOW=9, kv="f16",
                               at=At(seq=7, past=11)),
    "attention_decode": Heads(M=2, H=1, G=1, K=1, C=21, B=2, at=At(seq=1, past=20, start=(0, 3))),
    "attention_split": Heads(M=2, H=1, G=1, K=1, C=21, B=2, SPLITS=3,
                             at=At(seq=1, past=20, start=(0, 3))),
}  # fmt: skip


def like_gemma(case: Heads) -> Heads:
    return replace(case, H=8, G=1, K=256, SCALE=0.06)


def like_falcon(case: Heads) -> Heads:
    return replace(case, H=71, G=1, K=64, SCALE=0.12)


def like_deepseek(case: Heads) -> Heads:
    return replace(case, H=6, G=2, K=192, V=128, SCALE=0.07)


def fitting(kernel: Kernel, case: Case) -> Iterator[Knobs]:
    """Every combination of values whose local memory a phone has."""
    for values in product(*kernel.knobs.values()):
        knobs = dict(zip(kernel.knobs, values, strict=True))
        if kernel.requires(case, knobs).local_bytes <= ROOM:
            yield knobs


def each_launch() -> Iterator[Any]:
    for like, (name, sizes) in product((like_gemma, like_falcon, like_deepseek), LAUNCHES.items()):
        case, seen = like(sizes), []
        for knobs in fitting(KERNELS[name], case):
            if (defines := KERNELS[name].defines(case, knobs)) not in seen:
                seen.append(defines)
                label = "_".join(f"{knob}{value}" for knob, value in knobs.items())
                yield pytest.param(name, case, knobs, id=f"{like.__name__}-{name}-{label}")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "case", "knobs"), list(each_launch()))
def test_any_knobs_give_the_same_answer(queue: Any, name: str, case: Heads, knobs: Knobs) -> None:
    family = family_of(name)
    inputs = random_inputs(family, case, np.random.default_rng(0))
    outputs, guard = launch(queue, family, KERNELS[name], inputs, case, knobs)
    for key, expected in family.reference(inputs, case).items():
        np.testing.assert_allclose(outputs[key], expected, rtol=1e-4, atol=1e-5)
    assert (guard == GUARD).all()
