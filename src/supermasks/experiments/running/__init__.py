"""One runner for all experiments, and the record that it writes."""

from supermasks.experiments.running.record import read_record, write_record
from supermasks.experiments.running.run import Run, run
from supermasks.experiments.running.watcher import Silent, Watcher

__all__ = ["Run", "Silent", "Watcher", "read_record", "run", "write_record"]
