"""What a client asks: the body of `POST /v2/models/{name}/infer`, read and checked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from supermasks.brief import brief
from supermasks.serving.refusal import RefusedError
from supermasks.serving.tensors import (
    BYTES,
    NUMBERS,
    checked_shape,
    numbers_from_bytes,
    numbers_from_json,
    texts_from_bytes,
    texts_from_json,
)

INPUT, TASKS = "input", "tasks"
"""The names of the tensors of a request: the inputs, and the tasks to choose among or to answer by."""


@dataclass(frozen=True, eq=False)
class Asked:
    """A request.

    Attributes:
        inputs: `rows x ...`, as the client sent them.
        tasks: the names of tasks, if the client sent some.
        id: of the request, which the response repeats.
        outputs: for each tensor that the client wants whether it shall be binary; None stands for all of them.
        binary: whether tensors shall be binary where `outputs` does not say it.
    """

    inputs: Tensor
    tasks: tuple[str, ...] | None
    id: str | None
    outputs: Mapping[str, bool] | None
    binary: bool


def asked(body: bytes, header_length: str | None, rows: int) -> Asked:
    """Read a request.

    Args:
        body: JSON, and then the bytes of binary tensors.
        header_length: the header `Inference-Header-Content-Length`: the bytes of the JSON; None if all of it is.
        rows: the most rows to accept.

    Raises:
        RefusedError: the request is not one of the protocol, or has too many rows.
    """
    end = len(body) if header_length is None else _length(header_length, len(body))
    fields = _json(body[:end])
    tensors = _Tensors(memoryview(body)[end:])
    listed = _list(fields, "inputs")
    for tensor in listed or []:
        tensors.take(tensor)
    if tensors.left:
        raise RefusedError(400, f"the body has {tensors.left} bytes more than its tensors say; check binary_data_size")
    if tensors.inputs is None:
        raise RefusedError(400, f"inputs must have a tensor named {INPUT!r}")
    if tensors.inputs.shape[0] > rows:
        raise RefusedError(
            400, f"a request may have at most {rows} rows, got {tensors.inputs.shape[0]}; send them in parts"
        )
    identifier, parameters = fields.get("id"), _object(fields.get("parameters"), "parameters")
    if identifier is not None and not isinstance(identifier, str):
        raise RefusedError(400, f"id must be a string, got {brief(identifier)}")
    binary = _flag(parameters, "binary_data_output", False)
    return Asked(tensors.inputs, tensors.tasks, identifier, _outputs(fields, binary), binary)


class _Tensors:
    """Reads the tensors of a request, one after another."""

    def __init__(self, content: memoryview) -> None:
        self._content, self._at = content, 0
        self.inputs: Tensor | None = None
        self.tasks: tuple[str, ...] | None = None

    @property
    def left(self) -> int:
        return len(self._content) - self._at

    def take(self, given: object) -> None:
        """Read a tensor, and its part of the bytes."""
        tensor = _object(given, "a tensor of inputs")
        name, datatype = tensor.get("name"), tensor.get("datatype")
        if name not in (INPUT, TASKS):
            raise RefusedError(400, f"a tensor of inputs is named {INPUT!r} or {TASKS!r}, got {brief(name)}")
        if (self.inputs if name == INPUT else self.tasks) is not None:
            raise RefusedError(400, f"there are two tensors named {name!r}")
        known = list(NUMBERS) if name == INPUT else [BYTES]
        if not isinstance(datatype, str) or datatype not in known:
            raise RefusedError(400, f"the datatype of {name!r} must be {' or '.join(known)}, got {brief(datatype)}")
        shape, binary = checked_shape(tensor.get("shape"), name), self._binary(tensor, name)
        if name == TASKS:
            texts = (
                texts_from_json(tensor["data"], shape, name)
                if binary is None
                else texts_from_bytes(binary, shape, name)
            )
            self.tasks = tuple(texts)
        elif binary is None:
            self.inputs = numbers_from_json(tensor["data"], datatype, shape, name)
        else:
            self.inputs = numbers_from_bytes(binary, datatype, shape, name)

    def _binary(self, tensor: dict[str, Any], name: str) -> memoryview | None:
        """Return the bytes of a tensor; None if it has its data in JSON."""
        size = _object(tensor.get("parameters"), f"the parameters of {name!r}").get("binary_data_size")
        if size is None:
            if "data" not in tensor:
                raise RefusedError(400, f"{name!r} has neither data nor a binary_data_size")
            return None
        if type(size) is not int or not 0 <= size <= self.left or "data" in tensor:
            raise RefusedError(
                400,
                f"binary_data_size of {name!r} must be the number of its bytes after the JSON, and there must be no "
                f"data beside it; got {brief(size)}, and {self.left} bytes are left",
            )
        self._at += size
        return self._content[self._at - size : self._at]


def _length(header: str, most: int) -> int:
    if not (header.isascii() and header.isdigit()) or len(header) > 20 or int(header) > most:
        raise RefusedError(
            400,
            "Inference-Header-Content-Length must be the number of bytes of the JSON, at most those of the body "
            f"({most}), got {brief(header)}",
        )
    return int(header)


def _json(content: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"the body must be JSON: {brief(str(error))}") from error
    return _object(fields, "the body", required=True)


def _object(value: object, what: str, required: bool = False) -> dict[str, Any]:
    if value is None and not required:
        return {}
    if not isinstance(value, dict):
        raise RefusedError(400, f"{what} must be a JSON object, got {brief(value)}")
    return cast("dict[str, Any]", value)


def _list(fields: dict[str, Any], name: str) -> list[object] | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, list):
        raise RefusedError(400, f"{name} must be a list, got {brief(value)}")
    return cast("list[object] | None", value)


def _flag(parameters: dict[str, Any], name: str, usual: bool) -> bool:
    value = parameters.get(name, usual)
    if not isinstance(value, bool):
        raise RefusedError(400, f"{name} must be true or false, got {brief(value)}")
    return value


def _outputs(fields: dict[str, Any], binary: bool) -> dict[str, bool] | None:
    wanted, listed = dict[str, bool](), _list(fields, "outputs")
    for given in listed or []:
        output = _object(given, "an output")
        name = output.get("name")
        if not isinstance(name, str):
            raise RefusedError(400, f"the name of an output must be a string, got {brief(name)}")
        wanted[name] = _flag(_object(output.get("parameters"), "the parameters of an output"), "binary_data", binary)
    return wanted if listed else None
