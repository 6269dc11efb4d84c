"""Experiments by name, with the papers' settings: one experiment a file; every file of this folder is imported."""

from supermasks.experiments.modules import import_all
from supermasks.experiments.presets.preset import Preset

EXPERIMENTS: dict[str, Preset] = {
    preset.name: preset
    for module in import_all(__name__, __path__)
    for preset in vars(module).values()
    if isinstance(preset, Preset)
}
"""The experiments by their names on the command line."""

__all__ = ["EXPERIMENTS", "Preset"]
