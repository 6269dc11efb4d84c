"""Write a module as an ONNX file, for programs without torch and this library."""

import logging
import re
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from supermasks.anatomy import BATCH_NORM
from supermasks.errors import MissingExtraError, StorageError, UnsupportedModuleError
from supermasks.files import move_file, storage

INPUTS, TASK, LOGITS, BATCH = "inputs", "task", "logits", "batch"
SIZES = (1, 3)
"""The file is compared with its module on batches of these sizes."""

TOLERANCE = 1e-3
"""The largest difference between the logits of file and module, relative to the largest logit."""

Answer = Callable[[Tensor], Tensor]
"""From a batch of inputs to its logits."""

_TRACE = "pkg.torch.onnx.stack_trace"
_REGISTRATION = "torch.onnx._internal.exporter._registration"


def write_onnx(
    module: nn.Module, path: Path, example: Tensor, about: Mapping[str, str], answers: Sequence[Answer] = ()
) -> None:
    """Write a module that maps `inputs` to `logits`, for batches of any size.

    The file is first written to a temporary place, run, and compared with the module. If anything fails, an earlier
    file stays unchanged.

    Args:
        module: on the CPU, in evaluation mode.
        path: of the file. Parent folders are created. Above two gigabytes the weights are in a second file beside it.
        example: a batch of inputs to record the operations with.
        about: the metadata of the file.
        answers: what the file must answer for each number of a task, if the module takes one as a second input: `task`,
            a tensor of one int64. Otherwise the file must answer as the module does.

    Raises:
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
        StorageError: the file cannot be written.
        UnsupportedModuleError: ONNX cannot express the module, or not for batches of any size.
    """
    try:
        import onnx
        import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
        from onnxscript import ir
    except ImportError as error:
        raise MissingExtraError(
            f"writing ONNX files needs {error.name}; install it with: pip install 'supermasks[onnx]'"
        ) from error
    with _folder_beside(path) as folder:
        program = _exported(module, torch.cat([example, example]) if len(example) == 1 else example, bool(answers))
        model: Any = program.model
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            node.metadata_props.pop(_TRACE, None)  # it holds paths of this machine
        model.metadata_props.update(about)
        # A unique name, also for a second file of weights: the earlier file needs its own until the end.
        file = folder / f"{path.stem}.{token_hex(8)}{path.suffix}"
        with storage(f"{path} cannot be written"):
            program.save(file)
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 4, torch.get_num_threads()
        try:
            onnx.checker.check_model(file, full_check=True)
            session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the two packages share no class of error
            raise UnsupportedModuleError(f"the backbone as ONNX cannot be run: {error}") from error
        by_batch = any(isinstance(layer, BATCH_NORM) and layer.running_mean is None for layer in module.modules())
        for number, answer in enumerate(answers or [module]):
            batches = [*_batches(answer, example, by_batch)]
            for batch in batches if number == 0 else batches[-1:]:  # another task is only another mask
                _compare(answer, session, batch, number if answers else None)
        _put_in_place(file, path)


def _exported(module: nn.Module, example: Tensor, chosen: bool) -> Any:
    number = (torch.zeros(1, dtype=torch.int64),) if chosen else ()
    try:
        with _quiet(), torch.no_grad(), storage("the backbone cannot be written as ONNX"):
            program = torch.onnx.export(
                module,
                (example, *number),
                dynamo=True,
                verbose=False,
                input_names=[INPUTS, TASK][: 1 + chosen],
                output_names=[LOGITS],
                dynamic_shapes=({0: torch.export.Dim(BATCH)}, *(None for _ in number)),
            )
    except torch.onnx.OnnxExporterError as error:
        raise UnsupportedModuleError(
            f"the backbone cannot be written as ONNX: {str(error.__cause__ or error).strip()}; "
            "branches on input values are the usual reason; export(task) returns the same as a torch module"
        ) from error
    assert program is not None  # only the older exporter returns nothing
    graph: Any = program.model.graph
    batches = {str(value.shape[0]) for value in (graph.inputs[0], *graph.outputs)}
    if batches != {BATCH}:
        raise UnsupportedModuleError(
            f"the backbone must take batches of any size, got the fixed sizes {sorted(batches)}; let its forward() use "
            "the size of its input, as in x.flatten(1), and read it as x.shape[0], not as len(x)"
        )
    return program


def _batches(answer: Answer, example: Tensor, by_batch: bool) -> Iterator[Tensor]:
    """Yield batches of several sizes: rows of the example, and random numbers if the module accepts them."""
    for size in SIZES:
        rows = example[torch.arange(size) % len(example)]
        if size == 1 and by_batch and not _takes(answer, rows):
            continue  # one input has no statistics
        yield rows
        random = torch.randn(size, *example.shape[1:], generator=torch.Generator().manual_seed(0), dtype=torch.float32)
        if example.is_floating_point() and _takes(answer, random):
            yield random


def _takes(answer: Answer, batch: Tensor) -> bool:
    try:
        with torch.no_grad():
            answer(batch)
    except Exception:  # layers may reject random numbers, for example as categories
        return False
    return True


def _compare(answer: Answer, session: Any, batch: Tensor, task: int | None) -> None:
    """Raise UnsupportedModuleError unless the file gives the right logits, of a numbered task if there is one."""
    given = {INPUTS: batch.numpy(), **({} if task is None else {TASK: np.array([task], dtype=np.int64)})}
    size = len(batch)
    try:
        with torch.no_grad():
            ours = answer(batch)
        theirs = torch.from_numpy(session.run([LOGITS], given)[0])
    except Exception as error:  # from the runtime or from layers
        raise UnsupportedModuleError(
            f"the backbone, or its ONNX form, does not take a batch of {size}: {error}; let its forward() take "
            "batches of any size"
        ) from error
    largest = float(ours.nan_to_num(0.0).abs().max())
    if ours.shape != theirs.shape or not torch.allclose(
        theirs, ours.to(theirs.dtype), rtol=0.0, atol=TOLERANCE * largest + 1e-6, equal_nan=True
    ):
        raise UnsupportedModuleError(
            f"the logits of the backbone as ONNX and as a module differ for a batch of {size}, by more than a "
            "thousandth of the largest logit; branches on the batch size and random numbers are the usual reasons; let "
            "its forward() compute the same for batches of any size"
        )


@contextmanager
def _folder_beside(path: Path) -> Generator[Path]:
    """Create a temporary folder beside a file."""
    with storage(f"{path} cannot be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise StorageError(f"{path} cannot be written, since it is a folder; choose the name of a file")
        folder = Path(mkdtemp(prefix=".onnx-", dir=path.parent))
    try:
        yield folder
    finally:
        rmtree(folder, ignore_errors=True)


def _put_in_place(file: Path, path: Path) -> None:
    """Move a file and its separate weights into place, and remove the separate weights of an earlier file."""
    before, data = _weights_beside(path), _weights_beside(file)
    try:
        for name in data:
            move_file(file.with_name(name), path.with_name(name))
        move_file(file, path)
    except BaseException:
        for name in data:
            path.with_name(name).unlink(missing_ok=True)
        raise
    with storage(f"{path} is written, but the weights of the earlier file cannot be removed"):
        for name in before - data:
            path.with_name(name).unlink(missing_ok=True)


def _weights_beside(path: Path) -> set[str]:
    """Return the names of separate weight files of an ONNX file, if they were written by this module."""
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # no file, or another format
        return set()
    names = {entry.value for one in model.graph.initializer for entry in one.external_data if entry.key == "location"}
    ours = re.compile(rf"{re.escape(path.stem)}(\.[0-9a-f]{{16}})?{re.escape(path.suffix)}\.data")
    return {name for name in names if ours.fullmatch(name)}


@contextmanager
def _quiet() -> Generator[None]:
    """Hide messages of the exporter about its own use of torch and about torchvision."""
    logger = logging.getLogger(_REGISTRATION)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*LeafSpec", FutureWarning)
            yield
    finally:
        logger.setLevel(level)
