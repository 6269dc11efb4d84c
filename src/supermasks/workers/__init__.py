"""Who does many independent jobs at the same time: processes of this machine, or a Ray cluster."""

from supermasks.workers.base import Workers
from supermasks.workers.local import LocalProcesses
from supermasks.workers.ray_cluster import RayCluster

__all__ = ["LocalProcesses", "RayCluster", "Workers"]
