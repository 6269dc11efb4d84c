"""A plain module as an ONNX file, for programs that have neither torch nor this library."""

import logging
import re
import warnings
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import torch
from torch import Tensor, nn

from supermasks.anatomy import BATCH_NORM
from supermasks.bank.files import move_file, storage
from supermasks.errors import MissingExtraError, StorageError, UnsupportedModuleError

INPUTS, LOGITS, BATCH = "inputs", "logits", "batch"
SIZES = (1, 3)
"""A file is compared with its module at batches of these sizes."""

TOLERANCE = 1e-3
"""So far a logit of the file may be from that of the module, as a part of the largest one."""
_TRACE = "pkg.torch.onnx.stack_trace"
_REGISTRATION = "torch.onnx._internal.exporter._registration"


def write_onnx(module: nn.Module, path: Path, example: Tensor, about: Mapping[str, str]) -> None:
    """Write a module that turns `inputs` into `logits`, for batches of any size.

    The file is written beside, run, and compared with the module; if anything fails, an earlier file stays as it was.

    Args:
        module: on the CPU, in evaluation mode.
        path: of the file. Folders on the way are made; above two gigabytes the weights lie in a file beside it.
        example: a batch of inputs, of which the operations are recorded.
        about: what is written into the file's metadata.

    Raises:
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
        StorageError: the file cannot be written.
        UnsupportedModuleError: ONNX cannot express what the module computes, or not for batches of any size.
    """
    try:
        import onnx
        import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
        from onnxscript import ir
    except ImportError as error:
        raise MissingExtraError(
            f"to write ONNX files takes {error.name}; install it with: pip install 'supermasks[onnx]'"
        ) from error
    with _folder_beside(path) as folder:
        program = _exported(module, torch.cat([example, example]) if len(example) == 1 else example)
        model: Any = program.model
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            node.metadata_props.pop(_TRACE, None)  # paths of this machine are nobody's business
        model.metadata_props.update(about)
        # A name of its own also for the weights that may lie beside it: those of an earlier file are needed until the
        # last moment.
        file = folder / f"{path.stem}.{token_hex(8)}{path.suffix}"
        with storage(f"{path} cannot be written"):
            program.save(file)
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 4, torch.get_num_threads()
        try:
            onnx.checker.check_model(file, full_check=True)
            session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of either: they have no class of error in common
            raise UnsupportedModuleError(f"what the backbone is as ONNX cannot be run: {error}") from error
        for batch in _batches(module, example):
            _compare(module, session, batch)
        _put_in_place(file, path)


def _exported(module: nn.Module, example: Tensor) -> Any:
    try:
        with _quiet(), torch.no_grad(), storage("the backbone cannot be written as ONNX"):
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
    graph: Any = program.model.graph
    batches = {str(value.shape[0]) for value in (*graph.inputs, *graph.outputs)}
    if batches != {BATCH}:
        raise UnsupportedModuleError(
            f"the backbone takes batches of one size only, so that in ONNX they would have the sizes {sorted(batches)};"
            " let its forward() use the size of the batch that comes, as in x.flatten(1), and read it as x.shape[0], "
            "not as len(x)"
        )
    return program


def _batches(module: nn.Module, example: Tensor) -> Iterator[Tensor]:
    """Yield batches of several sizes: rows of the example, and random numbers where the module takes them."""
    by_batch = any(isinstance(layer, BATCH_NORM) and layer.running_mean is None for layer in module.modules())
    for size in SIZES:
        rows = example[torch.arange(size) % len(example)]
        if size == 1 and by_batch and not _takes(module, rows):
            continue  # of one input there are no statistics
        yield rows
        random = torch.randn(size, *example.shape[1:], generator=torch.Generator().manual_seed(0), dtype=torch.float32)
        if example.is_floating_point() and _takes(module, random):
            yield random


def _takes(module: nn.Module, batch: Tensor) -> bool:
    try:
        with torch.no_grad():
            module(batch)
    except Exception:  # whatever layers say of numbers that are no inputs of their kind, such as categories
        return False
    return True


def _compare(module: nn.Module, session: Any, batch: Tensor) -> None:
    """Raise UnsupportedModuleError unless a file answers as the module that it was made of."""
    size = len(batch)
    try:
        with torch.no_grad():
            ours = module(batch)
        theirs = torch.from_numpy(session.run([LOGITS], {INPUTS: batch.numpy()})[0])
    except Exception as error:  # of the runtime, or whatever layers say
        raise UnsupportedModuleError(
            f"the backbone, or what it is as ONNX, does not take a batch of {size}: {error}; let its forward() take "
            "batches of any size"
        ) from error
    largest = float(ours.nan_to_num(0.0).abs().max())
    if ours.shape != theirs.shape or not torch.allclose(
        theirs, ours.to(theirs.dtype), rtol=0.0, atol=TOLERANCE * largest + 1e-6, equal_nan=True
    ):
        raise UnsupportedModuleError(
            f"as ONNX the backbone answers a batch of {size} otherwise than as a module, by more than a thousandth of "
            "the largest logit; branches on the size of the batch are the usual reason, and random numbers; let its "
            "forward() compute the same for batches of any size"
        )


@contextmanager
def _folder_beside(path: Path) -> Generator[Path]:
    """Make a folder beside a file, which is removed in the end."""
    with storage(f"{path} cannot be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise StorageError(f"{path} cannot be written: it is a folder; choose the name of a file")
        folder = Path(mkdtemp(prefix=".onnx-", dir=path.parent))
    try:
        yield folder
    finally:
        rmtree(folder, ignore_errors=True)


def _put_in_place(file: Path, path: Path) -> None:
    """Move a file, and the weights beside it, in the place of an earlier one, whose weights are removed."""
    before, data = _weights_beside(path), _weights_beside(file)
    try:
        for name in data:
            move_file(file.with_name(name), path.with_name(name))
        move_file(file, path)
    except BaseException:
        for name in data:
            path.with_name(name).unlink(missing_ok=True)
        raise
    with storage(f"{path} is written, but the weights of the file before it cannot be removed"):
        for name in before - data:
            path.with_name(name).unlink(missing_ok=True)


def _weights_beside(path: Path) -> set[str]:
    """Return the names of the files that hold the weights of an ONNX file, of those that have a name as here."""
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # there is none, or it is something else
        return set()
    names = {entry.value for one in model.graph.initializer for entry in one.external_data if entry.key == "location"}
    ours = re.compile(rf"{re.escape(path.stem)}(\.[0-9a-f]{{16}})?{re.escape(path.suffix)}\.data")
    return {name for name in names if ours.fullmatch(name)}


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
