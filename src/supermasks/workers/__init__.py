"""Workers run independent jobs in parallel: processes on this machine, or a Ray cluster."""

from supermasks.workers.base import Workers
from supermasks.workers.local import LocalProcesses
from supermasks.workers.ray_cluster import RayCluster

__all__ = ["LocalProcesses", "RayCluster", "Workers"]
