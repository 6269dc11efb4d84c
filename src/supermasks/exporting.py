"""A network and a bank whose tasks can leave: as plain modules, or as ONNX files."""

import os
from collections.abc import Sequence

from torch import nn

from supermasks.asking import Inputs
from supermasks.bank import MaskBank
from supermasks.errors import ConfigError
from supermasks.learner_checks import different_states
from supermasks.network import Network
from supermasks.sharing import export_onnx, exported


class TaskExporter:
    """A bank over a network that exports its tasks.

    Args:
        network: over which the tasks were learned.
        bank: the states of the tasks.
    """

    def __init__(self, network: Network, bank: MaskBank) -> None:
        self.network, self.bank = network, bank

    def export(self, task: str) -> nn.Module:
        """Return one task as a plain module, of the backbone's own class, that needs neither this library nor a bank.

        It gives the logits of the learner bit for bit, and later tasks do not change it. Output `n` stands for
        `learner.bank[task].classes[n]`; further outputs are superfluous neurons. For a `HuggingFaceClassifier`, it is
        the model of transformers itself. See `supermasks.sharing.exported` for details.

        Args:
            task: its name.

        Raises:
            UnknownTaskError: no task of this name was learned.

        Example:
            >>> import torch
            >>> from supermasks import Examples, Learner, Task
            >>> from supermasks.training import Training
            >>> learner = Learner(nn.Linear(4, 3, bias=False), seed=0, training=Training(steps=1))
            >>> x = torch.eye(4)
            >>> fitted = learner.learn(Task("rows", ("low", "high"), Examples(x, torch.tensor([0, 0, 1, 1]))))
            >>> module = learner.export("rows")
            >>> type(module).__name__, torch.equal(module(x), learner.network.logits(x, learner.bank["rows"]))
            ('Linear', True)
        """
        return exported(self.network, self.bank[task])

    def export_onnx(
        self,
        task: str | None = None,
        path: str | os.PathLike[str] | None = None,
        example: Inputs | None = None,
        tasks: Sequence[str] | None = None,
    ) -> None:
        """Write one task, or several, as an ONNX file for batches of any size (extra `onnx`).

        One task goes from `inputs` to `logits`. The outputs are those of `export`. The file's metadata hold the name of
        the `task` and, as JSON, its `classes`, the labels of the first outputs; labels that JSON does not have are
        stored as in a bank.

        A file of several tasks has the shared weights once, and for each task the bits of its masks, its head and its
        statistics. The second input `task`, one int64, is the number of the task in the metadata `tasks`. The metadata
        `classes` has a list for each task. Where tasks have heads of different sizes, further logits are 0.

        Args:
            task: the name of a single task.
            path: of the file; an existing one is replaced.
            example: inputs to record the operations of the backbone with, and to compare the file on; None takes
                zeros, and for token ids ones and zeros.
            tasks: the names of several tasks, in place of `task`.

        Raises:
            UnknownTaskError: no task of one of the names was learned.
            ConfigError: there is neither `task` nor `tasks`, or both; `tasks` is no list of names; or the path is none.
            TaskError: the inputs of several tasks differ in shape, type or form.
            InputError: the example does not have the shape and type of the tasks' inputs.
            LabelError: a class label cannot be stored.
            UnsupportedModuleError: ONNX cannot express the backbone, or the file answers otherwise; or one of several
                tasks changes weights in another way than by a mask or by its own values.
            StorageError: the file cannot be written; an existing one is unchanged.
            MissingExtraError: onnx, onnxscript or onnxruntime is not installed.

        Example:
            `learner.export_onnx("digits", "digits.onnx")`, and wherever there is onnxruntime:
            `InferenceSession("digits.onnx").run(["logits"], {"inputs": images})`.
            For several tasks, `learner.export_onnx(path="all.onnx", tasks=["digits", "letters"])`, and for letters:
            `InferenceSession("all.onnx").run(["logits"], {"inputs": images, "task": np.array([1])})`.
        """
        if (task is None) == (tasks is None) or path is None:
            raise ConfigError("export_onnx needs the path of a file, and either task=NAME or tasks=[NAME, ...]")
        states = [self.bank[task]] if task is not None else different_states(tasks, self.bank)
        export_onnx(self.network, states, path, example, many=task is None)
