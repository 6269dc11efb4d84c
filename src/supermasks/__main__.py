"""Lets `python -m supermasks` be the command line."""

import sys

from supermasks.cli import main

sys.exit(main())
