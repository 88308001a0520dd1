"""The commands of `hcflow`, one module each; `hcflow.cli.program` puts them together."""
