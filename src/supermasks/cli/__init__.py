"""The command line: `supermasks demo | run | report | inspect | data | bank | paper`."""

from supermasks.cli.main import main

__all__ = ["main"]
