"""Ways: methods with their settings, under short names. One way a file; every file of this folder is imported."""

from supermasks.experiments.modules import import_all
from supermasks.experiments.ways.over_network import MethodWay
from supermasks.experiments.ways.way import Setup, Way, ways

import_all(__name__, __path__)

__all__ = ["MethodWay", "Setup", "Way", "ways"]
