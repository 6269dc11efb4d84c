"""The command line: `supermasks demo | run | compare | report | inspect | data | bank | serve | paper`."""

from supermasks.cli.app import main

__all__ = ["main"]
