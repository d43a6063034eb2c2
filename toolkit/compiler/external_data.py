"""Weights that lie in files beside the model: where they are, and whether they are whole."""

from pathlib import Path

import onnx_ir as ir

from toolkit.compiler.damage import damaged
from toolkit.errors import PocketError
from toolkit.foreign.kinds import refuse


def locate(model: ir.Model, path: Path) -> None:
    """Give external weights their full path, if it lies beside the model or what that links to.

    onnx_ir would follow no link and read no file of two names, and a hub's cache is made of links.
    """
    allowed = {path.parent.resolve(), path.resolve().parent}
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        file = path.parent / tensor.location
        if not allowed & set(file.resolve().parents):
            outside = f"tensor {value.name} lies outside its folder, at {tensor.location}"
            raise damaged(path, outside)
        value.const_value = ir.ExternalTensor(
            *(file, tensor.offset, tensor.length, tensor.dtype),
            shape=tensor.shape,
            name=tensor.name,
        )


def external_files(model: ir.Model, path: Path) -> set[Path]:
    """Files with the weights; each must be there and long enough."""
    files: set[Path] = set()
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        file = Path(tensor.path)
        if not file.is_file():
            raise PocketError(
                f"the weights of {path} are missing",
                f"tensor {value.name} is in {file.name}, which is not there",
                "copy it beside the model: an export with external data is more than one file",
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
