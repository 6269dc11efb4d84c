"""Networks of experiments, as settings: every file of this folder is imported."""

from supermasks.experiments.backbones.backbone import Backbone
from supermasks.experiments.modules import import_all

import_all(__name__, __path__)

__all__ = ["Backbone"]
