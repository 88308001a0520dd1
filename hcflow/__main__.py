"""`python -m hcflow` is the command `hcflow`."""

from hcflow.cli.program import program

program()
