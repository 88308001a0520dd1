"""`python -m export.build`: the program `hcflow build`."""

if __name__ == "__main__":
    from hcflow.cli.program import run_command
    from hcflow.commands.build import build

    run_command(build)
