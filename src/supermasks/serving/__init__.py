"""A server for a bank: the Open Inference Protocol, many tasks in one batch, a bank that changes (extra `serve`)."""

from supermasks.serving.app import create_app
from supermasks.serving.run import run
from supermasks.serving.service import Service
from supermasks.serving.settings import ServerSettings

__all__ = ["ServerSettings", "Service", "create_app", "run"]
