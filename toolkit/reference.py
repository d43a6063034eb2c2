"""The oracle: ONNX Runtime on a decoder, original or after any pass, with its own KV cache."""

import tempfile
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime as ort
import sympy

from onnx_passes import defined
from onnx_passes.canonicalize_dims import canonicalize_dims
from onnx_passes.roles import Roles, roles_of
from onnx_passes.shapes import as_expr
from toolkit.expr import symbol
from toolkit.plan import Plan
from toolkit.source import Source

Array = npt.NDArray[Any]


class Reference:
    """A decoder in ONNX Runtime; `score` appends tokens to the cache and returns their logits."""

    def __init__(self, session: ort.InferenceSession, model: ir.Model) -> None:
        """`model` tells roles and shapes; `session` runs it, or an earlier form of it."""
        self.session, self.roles = session, roles_of(model)
        self.inputs = {v.name: v for v in model.graph.inputs if v.name}
        self.outputs = [output.name for output in session.get_outputs()]
        self.caches = _caches(self.roles, self.outputs)
        self.past = 0
        self.reset()

    @classmethod
    def original(cls, source: Source, threads: int = 0) -> Self:
        """The exporter's file, as it is; 0 threads: as many as ONNX Runtime likes."""
        model = source.model
        canonicalize_dims(model)
        return cls(_session(str(source.onnx_path), threads), model)

    @classmethod
    def rewritten(cls, source: Source, plan: Plan) -> Self:
        """The final graph that the plan was lowered from."""
        from toolkit.compile import rewritten_for

        return cls.of(rewritten_for(source, plan))

    @classmethod
    def of(cls, model: ir.Model) -> Self:
        """A model in memory, after any pass."""
        return cls(_session_of(model), model)

    def reset(self) -> None:
        """Empty the cache."""
        self.past = 0
        self.state = {past: self._zeros(past) for past in self.caches}

    def score(self, ids: list[int]) -> npt.NDArray[np.float32]:
        """Feed ids after what is cached; logits [len(ids), V]."""
        names = [i.name for i in self.session.get_inputs()]
        feeds = {
            name: self.state[name] if name in self.state else self._feed(name, ids)
            for name in names
        }
        values = dict(zip(self.outputs, self.session.run(None, feeds), strict=True))
        for past, present in self.caches.items():
            self.state[past] = values[present]
        self.past += len(ids)
        logits = values[self.roles.logits]
        return np.asarray(logits[0], dtype=np.float32)

    def _feed(self, name: str, ids: list[int]) -> Array:
        seq, total = len(ids), self.past + len(ids)
        value = self.inputs[name]
        at = {symbol("seq"): sympy.Integer(seq), symbol("past"): sympy.Integer(self.past)}
        at[symbol("rows")] = at[symbol("seq")]
        shape = [int(as_expr(d).xreplace(at)) for d in value.shape or ()]
        dtype = value.dtype.numpy() if value.dtype is not None else np.dtype(np.int64)
        numbers = {
            self.roles.tokens: np.array(ids),
            self.roles.mask: np.ones(total),
            self.roles.positions: np.arange(self.past, total),
            "past": np.array([self.past]),
            "start": np.zeros(1),
            "rows": np.array([seq]),
        }[name]
        return np.broadcast_to(numbers.astype(dtype), shape)

    def _zeros(self, past: str) -> Array:
        value = self.inputs[past]
        shape = [d if isinstance(d, int) else 0 for d in value.shape or ()]
        return np.zeros(shape, value.dtype.numpy() if value.dtype is not None else np.float32)


def _caches(roles: Roles, outputs: list[str]) -> dict[str, str]:
    """Input -> output of every cache: the exporter's pairs, or states after `kv_in_place`."""
    pairs = {past: present for past, present in roles.cache if present in outputs}
    states = {
        o.replace("state_out.", "state.", 1): o for o in outputs if o.startswith("state_out.")
    }
    return pairs | states


def _session_of(model: ir.Model) -> ort.InferenceSession:
    """Through a file: weights may lie outside the model's own, and a protobuf ends at 2 GiB."""
    with defined(model), tempfile.TemporaryDirectory(prefix="pocketcl-") as folder:
        model.ir_version = max(10, model.ir_version or 10)  # overloads of functions
        path = Path(folder) / "model.onnx"
        ir.save(model, path, external_data="model.onnx.data")
        return _session(str(path))


def _session(model: str, threads: int = 0) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
