"""The networks of the papers, as plain modules that know nothing of tasks and masks."""

from supermasks.nets.fully_connected import fc_1024_1024, fully_connected, lenet_300_100

__all__ = ["fc_1024_1024", "fully_connected", "lenet_300_100"]
