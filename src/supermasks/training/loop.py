"""The training loop: makes steps until the end, saves checkpoints, and handles Control-C at the end of a step."""

from collections.abc import Mapping
from time import perf_counter

from torch import Tensor

from supermasks.errors import RunStateError
from supermasks.methods import Session
from supermasks.training.checkpoint import has_checkpoint, load_checkpoint, remove_checkpoint, save_checkpoint
from supermasks.training.distributed import Processes
from supermasks.training.draws import Draws
from supermasks.training.fitting import Fitting
from supermasks.training.interruption import Interruption
from supermasks.training.listening import Checkpoint, Listeners
from supermasks.training.report import Fit
from supermasks.training.settings import Training
from supermasks.training.steps import tell


def fit(
    session: Session,
    settings: Training,
    listeners: Listeners | None = None,
    checkpoint: Checkpoint | None = None,
    whole: Mapping[str, Tensor] | None = None,
    draws: Draws | None = None,
) -> Fit:
    """Minimise the loss of a session (SupSup, Section 3.6).

    By default, the loss is the cross-entropy over all outputs, superfluous neurons included; a method may change it.

    An interrupted training resumes from its checkpoint, and ends with the same bits as without interruption. With a
    checkpoint, Control-C takes effect at the end of a step, after saving.

    If `torch.distributed` is initialised, each process computes its share of every batch. The steps are those of one
    process with the whole batch, up to rounding, and all processes end with the same parameters and buffers.
    Batch normalisation uses the statistics of the share. All processes take the buffers of the first one before each
    validation and at the end. Random layers draw different numbers in each. All processes must see the same checkpoint
    file; the first one writes it.

    Args:
        session: the task under training; its parameters and buffers change in place. The seed of its lesson and the
            name of the task determine the order of the data, their augmentation, and what random layers draw.
        settings: of the training.
        listeners: called after each step, on the first process.
        checkpoint: where the training is saved.
        whole: values for weights that no gradient reaches, used instead of the session's.
        draws: those of the stage before, which this one goes on with; None starts anew.

    Raises:
        ConfigError: the best epoch is to be selected without validation examples, the batch has fewer examples than
            parts, the number of class weights is not the number of classes, or a callback returns anything but "stop"
            or None.
        InputError: the augmentation cannot handle inputs of this shape.
        RunStateError: the checkpoint is damaged, or from another training.
        StorageError: the checkpoint cannot be read or written.
        TrainingError: the network refuses a batch, or the loss, or a parameter at the end, is not finite.
    """
    start, processes = perf_counter(), Processes.current()
    draws = draws or Draws(session.lesson, settings.batch_size)
    run = Fitting(session, settings, processes, whole or {}, draws)
    with (
        draws.of_layers(run.network.device, processes.rank),
        Interruption(checkpoint is not None) as stopped,
    ):
        saving = _Saving(run, checkpoint, stopped, start)
        saving.resume()
        processes.broadcast(run.tensors())
        if session.follows and settings.select_best and run.step == 0:
            run.note_start()
        _advance(run, listeners or Listeners(), saving)
    run.finish()
    draws.steps += run.step
    if checkpoint is not None and processes.rank == 0 and not checkpoint.keep:
        remove_checkpoint(checkpoint.file)
    accuracies = tuple(run.best.accuracies)
    return Fit(run.losses.means[0], saving.seconds(), run.step, accuracies, ended=run.ended or "all steps")


def _advance(run: Fitting, listeners: Listeners, saving: "_Saving") -> None:
    """Make all steps, call the listeners, and save now and then."""
    processes, progress, callbacks = run.processes, listeners.progress, listeners.callbacks
    heard = processes.any(bool(callbacks))[0]
    saving.begin()
    while not run.is_over:
        run.advance()
        stop = False
        if processes.rank == 0:
            try:
                stop = bool(callbacks) and tell(callbacks, run.report())
                if progress is not None:
                    progress(run.step, run.steps)
            except KeyboardInterrupt:
                if not saving.wait_for_end_of_step():
                    raise
        if heard and processes.any(stop)[0]:
            run.end("callback")
        saving.save_if_due()


class _Saving:
    """Saves a training in its checkpoint, if it has one."""

    def __init__(self, run: Fitting, checkpoint: Checkpoint | None, stopped: Interruption, start: float) -> None:
        self._run, self._checkpoint, self._stopped, self._start = run, checkpoint, stopped, start
        about = {} if checkpoint is None else checkpoint.about
        self._identity = {} if checkpoint is None else {**run.identity(), **about}
        self._before, self._saved = 0.0, 0.0

    def resume(self) -> None:
        """Restore the checkpoint, if there is one."""
        run, processes = self._run, self._run.processes
        if self._checkpoint is None:
            return
        if has_checkpoint(self._checkpoint.file):
            run.restore(load_checkpoint(self._checkpoint.file, self._identity))
        if processes.total(run.step) != run.step * processes.count:
            raise RunStateError(
                f"the processes found different checkpoints at {self._checkpoint.file}; give them all the same folder"
            )

    def begin(self) -> None:
        """Start to count the time until the next saving."""
        self._before, self._saved = self._run.seconds, perf_counter()

    def seconds(self) -> float:
        """Return the time of the training so far, including the time before an interruption."""
        return self._before + perf_counter() - self._start

    def wait_for_end_of_step(self) -> bool:
        """Return whether an interruption waits until the training is saved; it does if there is a checkpoint."""
        self._stopped.pending = self._checkpoint is not None
        return self._stopped.pending

    def save_if_due(self) -> None:
        """Save if it is time, or the training was interrupted. All processes call it."""
        checkpoint, run, processes = self._checkpoint, self._run, self._run.processes
        if checkpoint is None:
            return
        late = perf_counter() - self._saved >= checkpoint.seconds
        due, stopped = processes.any(late, self._stopped.pending)
        if due or stopped or (checkpoint.keep and run.is_over):
            run.seconds = self.seconds()
            state = run.state()  # asks all processes
            if processes.rank == 0:
                save_checkpoint(checkpoint.file, self._identity, state)
            self._saved = perf_counter()
        if stopped:
            raise KeyboardInterrupt
