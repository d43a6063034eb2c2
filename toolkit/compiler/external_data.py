"""Weights in files next to the model: find them, and check that they are complete."""

from pathlib import Path

import onnx_ir as ir

from toolkit.compiler.damage import damaged
from toolkit.errors import PocketError
from toolkit.foreign.kinds import refuse


def external_tensors(model: ir.Model) -> list[tuple[ir.Value, ir.ExternalTensor]]:
    """Weights in other files, those of branches included."""
    parts = (model.graph, *model.graph.subgraphs())
    values = (value for part in parts for value in part.initializers.values())
    found = ((value, value.const_value) for value in values)
    return [(value, tensor) for value, tensor in found if isinstance(tensor, ir.ExternalTensor)]


def locate(model: ir.Model, path: Path) -> None:
    """Give external weights their full path, in the model's folder or that of a link's target.

    onnx_ir follows no symbolic links and reads no hard-linked files, but a hub's cache has both.
    """
    allowed = {path.parent.resolve(), path.resolve().parent}
    for value, tensor in external_tensors(model):
        file = path.parent / tensor.location
        if not allowed & set(file.resolve().parents):
            outside = f"tensor {value.name} is outside its folder, at {tensor.location}"
            raise damaged(path, outside)
        value.const_value = ir.ExternalTensor(
            *(file, tensor.offset, tensor.length, tensor.dtype),
            shape=tensor.shape,
            name=tensor.name,
        )


def external_files(model: ir.Model, path: Path) -> set[Path]:
    """The files of external weights; raises unless each exists and is long enough."""
    files: set[Path] = set()
    for value, tensor in external_tensors(model):
        file = Path(tensor.path)
        if not file.is_file():
            raise PocketError(
                f"the weights of {path} are missing",
                f"tensor {value.name} is in {file.name}, which is not there",
                "copy it beside the model: an export with external data has more than one file",
            )
        _check_length(value.name or "", tensor, file)
        files.add(file)
    return files


def _check_length(name: str, tensor: ir.ExternalTensor, file: Path) -> None:
    end, size = (tensor.offset or 0) + (tensor.length or tensor.nbytes), file.stat().st_size
    if end > size or (tensor.length is not None and tensor.length < tensor.nbytes):
        refuse(file)
        raise PocketError(
            f"{file} is damaged",
            f"tensor {name} ends at byte {end}, the file has {size}",
            "copy or export it again: it was cut short",
        )
