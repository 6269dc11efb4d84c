"""What a client gets: outputs of the protocol, as JSON or with bytes after it."""

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from supermasks.encoding import encode_label
from supermasks.serving.asked import Asked
from supermasks.serving.jobs import Answer, Answers
from supermasks.serving.refusal import RefusedError
from supermasks.serving.tensors import BYTES, to_bytes
from supermasks.types import Prediction

_DATATYPES = {torch.float32: "FP32", torch.int64: "INT64", torch.bool: "BOOL"}


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts with a shape."""

    texts: Sequence[str]
    shape: tuple[int, ...]


Output = Tensor | Texts


def outputs_of(answer: Answer) -> dict[str, Output]:
    """Return an answer as tensors, by their names in the protocol."""
    if isinstance(answer, Answers):
        return _of_task(answer)
    if isinstance(answer, Prediction):
        return _of_prediction(answer)
    rows = len(answer[0].classes)
    texts = [label for one in answer for label in _labels(one)]
    return {
        "task": Texts([one.state.name for one in answer], (len(answer),)),
        "label": Texts(texts, (len(answer), rows)),
        "class": torch.stack([one.classes for one in answer]),
        "confidence": torch.stack([one.confidence for one in answer]),
    }


def label_text(label: Hashable) -> str:
    """Return a label as text: a string as it is, others as JSON.

    Example:
        >>> label_text("cat"), label_text(7), label_text(("cat", 7))
        ('cat', '7', '{"tuple": ["cat", 7]}')
    """
    return label if isinstance(label, str) else json.dumps(encode_label(label))


def response(name: str, asked: Asked, outputs: Mapping[str, Output]) -> tuple[bytes, int | None]:
    """Return the body of a response, and how many bytes of it are JSON; None if all are.

    Args:
        name: of the model, as the client gave it.
        asked: the request.
        outputs: the answer.

    Raises:
        RefusedError: the client wants an output that there is not.
    """
    wanted = dict.fromkeys(outputs, asked.binary) if asked.outputs is None else asked.outputs
    if missing := [output for output in wanted if output not in outputs]:
        raise RefusedError(400, f"there is no output {missing[0][:100]!r}; there are {', '.join(outputs)}")
    described, content = list[dict[str, Any]](), list[bytes]()
    for output, binary in wanted.items():
        described.append(_described(output, outputs[output]))
        if binary:
            value = outputs[output]
            content.append(to_bytes(value.texts if isinstance(value, Texts) else value))
            described[-1]["parameters"] = {"binary_data_size": len(content[-1])}
        else:
            described[-1]["data"] = _listed(outputs[output])
    fields = {"model_name": name, **({} if asked.id is None else {"id": asked.id}), "outputs": described}
    head = json.dumps(fields, separators=(",", ":")).encode()
    return head + b"".join(content), len(head) if any(wanted.values()) else None


def _of_task(answers: Answers) -> dict[str, Output]:
    return {
        "label": Texts(_labels(answers), tuple(answers.classes.shape)),
        "class": answers.classes,
        "confidence": answers.confidence,
    }


def _labels(answers: Answers) -> list[str]:
    return [label_text(answers.state.classes[index]) for index in answers.classes.tolist()]


def _of_prediction(found: Prediction) -> dict[str, Output]:
    shape = (len(found.labels),)
    judged = {
        "task_confidence": found.task_confidence,
        "unknown": found.unknown,
        "typicality": found.typicality,
    }
    return {
        "task": Texts(found.tasks, shape),
        "label": Texts([label_text(label) for label in found.labels], shape),
        "confidence": found.confidence,
        **{name: _plain(value) for name, value in judged.items() if value is not None},
    }


def _plain(value: Tensor) -> Tensor:
    return value if value.dtype == torch.bool else value.to(torch.float32)


def _described(name: str, output: Output) -> dict[str, Any]:
    if isinstance(output, Texts):
        return {"name": name, "datatype": BYTES, "shape": list(output.shape)}
    return {"name": name, "datatype": _DATATYPES[output.dtype], "shape": list(output.shape)}


def _listed(output: Output) -> list[Any]:
    return list(output.texts) if isinstance(output, Texts) else output.flatten().tolist()
