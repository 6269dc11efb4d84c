"""Networks of experiments, as settings: every file of this folder is imported."""

from supermasks.experiments.architectures.architecture import Architecture
from supermasks.experiments.modules import import_all

import_all(__name__, __path__)

__all__ = ["Architecture"]
