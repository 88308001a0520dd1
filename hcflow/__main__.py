"""`python -m hcflow` is the command `hcflow`."""

from hcflow.cli import program

program()
