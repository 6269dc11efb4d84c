"""A plain module as an ONNX file, for programs that have neither torch nor this library."""

import logging
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from supermasks.errors import MissingExtraError, UnsupportedModuleError

INPUTS, LOGITS, BATCH = "inputs", "logits", "batch"
_TRACE = "pkg.torch.onnx.stack_trace"
_REGISTRATION = "torch.onnx._internal.exporter._registration"


def write_onnx(module: nn.Module, path: Path, example: Tensor, about: Mapping[str, str]) -> None:
    """Write a module that turns `inputs` into `logits`, for batches of any size.

    Args:
        module: on the CPU, in evaluation mode.
        path: of the file. Folders on the way are made; above two gigabytes the weights lie in a file beside it.
        example: a batch of inputs, of which the operations are recorded.
        about: what is written into the file's metadata.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        UnsupportedModuleError: ONNX cannot express what the module computes, or not for batches of any size.
    """
    try:
        import onnx
        from onnxscript import ir
    except ImportError as error:
        raise MissingExtraError(
            f"to write ONNX files takes {error.name}; install it with: pip install 'supermasks[onnx]'"
        ) from error
    if len(example) == 1:
        example = torch.cat([example, example])  # the exporter takes one for a size that never changes
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                verbose=False,
                input_names=[INPUTS],
                output_names=[LOGITS],
                dynamic_shapes=({0: torch.export.Dim(BATCH)},),
            )
    except torch.onnx.OnnxExporterError as error:
        raise UnsupportedModuleError(
            f"the backbone cannot be written as ONNX: {str(error.__cause__ or error).strip()}; "
            "branches on the values of inputs are the usual reason; export(task) is the same as a module of torch"
        ) from error
    assert program is not None  # only the older exporter returns nothing
    model: Any = program.model
    batches = {str(value.shape[0]) for value in (*model.graph.inputs, *model.graph.outputs)}
    if batches != {BATCH}:
        raise UnsupportedModuleError(
            f"the backbone takes batches of one size only, so that in ONNX they would have the sizes {sorted(batches)};"
            " let its forward() use the size of the batch that comes, as in x.flatten(1)"
        )
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        node.metadata_props.pop(_TRACE, None)  # paths of this machine are nobody's business
    model.metadata_props.update(about)
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(path)
    onnx.checker.check_model(path, full_check=True)


@contextmanager
def _quiet() -> Generator[None]:
    """Leave out what the exporter says of itself: of its own use of torch, and that it does without torchvision."""
    logger = logging.getLogger(_REGISTRATION)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*LeafSpec", FutureWarning)
            yield
    finally:
        logger.setLevel(level)
