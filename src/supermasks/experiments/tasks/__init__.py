"""What an experiment learns: one kind of task source a file; every file of this folder is imported."""

from supermasks.experiments.modules import import_all
from supermasks.experiments.tasks.source import TaskSource

import_all(__name__, __path__)

__all__ = ["TaskSource"]
