"""LoRA: what is merged is what the model with its adapter beside it answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from needed import here
from pass_helpers import SHARED

import toolkit
from onnx_passes.ir.edit import Builder
from onnx_passes.weights.lazy import part
from opencl_kernels.formats import Array
from toolkit.compiler.adapters.merge import merge
from toolkit.compiler.adapters.safetensors import tensors_of
from toolkit.compiler.source import Source, load_source, session_of
from toolkit.errors import PocketError
from toolkit.evaluation.verify import verify

MODEL = SHARED / "random/llama"
D, F, R = 96, 160, 3
SIZES = {"mlp.down_proj": (F, D), "mlp.up_proj": (D, F)}  # module -> inputs, outputs
KINDS = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}


def written(file: Path, tensors: dict[str, Array], kind: str = "F32") -> None:
    """A file of safetensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, tensor in tensors.items():
        raw = tensor.astype(KINDS[kind]).tobytes()
        places = [len(body), len(body) + len(raw)]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": places}
        body += raw
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + body)


def an_adapter(
    folder: Path, sizes: dict[str, tuple[int, int]] = SIZES, kind: str = "F32", **config: Any
) -> dict[str, Array]:
    """Of some modules of the first layer, as PEFT saves it; the matrices A and B of each."""
    rng, tensors = np.random.default_rng(5), dict[str, Array]()
    for module, (K, N) in sizes.items():
        name = f"base_model.model.model.layers.0.{module}"
        tensors[f"{name}.lora_A.weight"] = rng.normal(size=(R, K)).astype(np.float32) / 8
        tensors[f"{name}.lora_B.weight"] = rng.normal(size=(N, R)).astype(np.float32) / 8
    folder.mkdir(exist_ok=True)
    written(folder / "adapter_model.safetensors", tensors, kind)
    usual = {"peft_type": "LORA", "r": R, "lora_alpha": 6, "target_modules": sorted(sizes)}
    (folder / "adapter_config.json").write_text(json.dumps({**usual, **config}))
    return tensors


def beside(source: Source, tensors: dict[str, Array], scale: float) -> ir.Model:
    """The model with its adapter as nodes: y = x W + scale * (x Aᵀ) Bᵀ."""
    model = source.model
    for node in list(model.graph):
        module = (node.name or "").strip("/").removesuffix("/MatMul").replace("/", ".")
        A = tensors.get(f"base_model.model.{module}.lora_A.weight")
        if node.op_type != "MatMul" or A is None:
            continue
        B = tensors[f"base_model.model.{module}.lora_B.weight"]
        y, build = node.outputs[0], Builder(next(iter(node.outputs[0].uses())).node)
        left, right = (
            build.constant(m, f"{module}.{i}")
            for i, m in enumerate((A.T, (scale * B.T).astype(np.float32)))
        )
        users = [(use.node, use.idx) for use in y.uses()]
        added = build.op(
            "Add", y, build.op("MatMul", build.op("MatMul", node.inputs[0], left), right)
        )
        for user, index in users:
            user.replace_input_with(index, added)
    return model


def logits_of(session: Any) -> Array:
    ids = np.array([[3, 1, 4, 1, 5]], np.int64)
    feeds: dict[str, Any] = {}
    for given in session.get_inputs():
        if given.name == "input_ids":
            feeds[given.name] = ids
        elif given.name in ("attention_mask", "position_ids"):
            whole = np.ones_like(ids), np.arange(5)[None]
            feeds[given.name] = whole[given.name == "position_ids"]
        else:
            shape = [
                s if isinstance(s, int) else 1 if i == 0 else 0 for i, s in enumerate(given.shape)
            ]
            feeds[given.name] = np.zeros(shape, np.float32)
    return np.asarray(session.run(["logits"], feeds)[0])


@pytest.mark.parametrize("rslora", [False, True])
def test_merged_is_as_beside_it(tmp_path: Path, rslora: bool) -> None:
    tensors = an_adapter(tmp_path / "lora", use_rslora=rslora, fan_in_fan_out=rslora)
    plain = load_source(here(MODEL / "optimum"))
    merged = load_source(MODEL / "optimum", tmp_path / "lora")
    assert merged.sha256 != plain.sha256
    scale = 6 / np.sqrt(R) if rslora else 6 / R
    wanted = logits_of(session_of(beside(plain, tensors, scale), "beside"))
    np.testing.assert_allclose(logits_of(merged.session()), wanted, rtol=1e-5, atol=1e-5)
    assert np.abs(logits_of(plain.session()) - wanted).max() > 1e-2


@pytest.mark.parametrize("export", ["dynamo23", "genai-fp32"])
def test_names_of_other_exporters(tmp_path: Path, export: str) -> None:
    """Which lie otherwise, and are called otherwise."""
    sizes = {"self_attn.o_proj": (D, D), "mlp.up_proj": (D, F)}
    tensors = an_adapter(tmp_path / "lora", sizes, "BF16")
    plain, changed = (load_source(here(MODEL / export)).model for _ in range(2))
    merge(changed, tmp_path / "lora")
    pairs = [
        (one.const_value, two.const_value)
        for one, two in zip(
            plain.graph.initializers.values(), changed.graph.initializers.values(), strict=True
        )
    ]
    found = [
        (np.asarray(a.numpy()), np.asarray(b.numpy()))
        for a, b in pairs
        if a is not None and b is not None and type(a) is not type(b)
    ]
    assert len(found) == 2
    for module, size in sizes.items():
        A, B = (
            tensors[f"base_model.model.model.layers.0.{module}.lora_{end}.weight"]
            .astype(ml_dtypes.bfloat16)
            .astype(np.float32)
            for end in "AB"
        )
        before, after = next(pair for pair in found if pair[0].size == size[0] * size[1])
        delta = (B @ A).T * (6 / R)
        delta = delta if before.shape == delta.shape else delta.T
        np.testing.assert_allclose(after - before, delta, atol=1e-6)


def test_a_part_of_a_weight_is_that_of_the_whole(tmp_path: Path) -> None:
    an_adapter(tmp_path / "lora")
    model = load_source(here(MODEL / "optimum"), tmp_path / "lora").model
    tensors = [v.const_value for v in model.graph.initializers.values()]
    changed = [t for t in tensors if t is not None and type(t).__name__ == "Adapted"]
    assert len(changed) == 2
    for tensor in changed:
        whole = np.asarray(tensor.numpy())
        np.testing.assert_allclose(part(tensor, 0, 7, 65), whole[7:65], atol=1e-6)
        np.testing.assert_allclose(part(tensor, 1, 1, 63), whole[:, 1:63], atol=1e-6)


@pytest.mark.slow
def test_a_plan_is_of_the_model_with_its_adapter(tmp_path: Path) -> None:
    an_adapter(tmp_path / "lora")
    model, sizes = here(MODEL / "optimum"), {"max_context": 64, "prefill_chunk": 8}
    done = toolkit.compile(model, tmp_path / "m.plan", lora=tmp_path / "lora", **sizes)
    assert verify(done.path, on="host")["ok"]
    an_adapter(tmp_path / "lora", lora_alpha=7)
    with pytest.raises(PocketError, match="has changed since the plan was compiled"):
        verify(done.path, on="host")


@pytest.mark.parametrize(
    "sizes, config, says",
    [
        ({"mlp.down_proj": (D, D)}, {}, r"doesn't fit: the weight has 160 x 96 numbers"),
        ({"mlp.fc1": (D, D)}, {}, "is not in the model: no product is called so"),
        (SIZES, {"peft_type": "IA3"}, "is no LoRA"),
        (SIZES, {"use_dora": True}, "is no plain LoRA: .*use_dora"),
        (SIZES, {"init_lora_weights": "pissa"}, "is no plain LoRA: .*init_lora_weights"),
        (SIZES, {"alora_invocation_tokens": [3]}, "is no plain LoRA: .*alora_invocation_tokens"),
        (SIZES, {"rank_pattern": {"up_proj": 2}}, "is no plain LoRA: .*rank_pattern"),
        (SIZES, {"r": 4}, "is damaged: A and B have the sizes"),
        (SIZES, {"r": "four"}, "is damaged: r is four"),
    ],
)
def test_what_does_not_fit(
    tmp_path: Path, sizes: dict[str, tuple[int, int]], config: dict[str, Any], says: str
) -> None:
    an_adapter(tmp_path / "lora", sizes, **config)
    source = load_source(here(MODEL / "optimum"), tmp_path / "lora")
    with pytest.raises(PocketError, match=says):
        _ = source.model


def test_weights_in_codes_and_joined_modules(tmp_path: Path) -> None:
    an_adapter(tmp_path / "lora", {"mlp.up_proj": (D, F)})
    with pytest.raises(PocketError, match=r"can't be added: .*in codes"):
        merge(load_source(here(MODEL / "genai-int4")).model, tmp_path / "lora")
    an_adapter(tmp_path / "lora", {"self_attn.q_proj": (D, D)})
    with pytest.raises(PocketError, match="no product is called so"):
        merge(load_source(here(MODEL / "genai-fp32")).model, tmp_path / "lora")


def test_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(PocketError, match="is no adapter"):
        load_source(here(MODEL / "optimum"), tmp_path)


@pytest.mark.parametrize("cut", [0, 4, 20, -1])
def test_a_damaged_file(tmp_path: Path, cut: int) -> None:
    written(tmp_path / "a", {"x": np.ones((2, 3), np.float32)})
    np.testing.assert_array_equal(tensors_of(tmp_path / "a")["x"], np.ones((2, 3)))
    whole = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(whole[:cut])
    with pytest.raises(PocketError, match="is damaged"):
        tensors_of(tmp_path / "a")
