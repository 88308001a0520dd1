"""The commands of `hcflow`, one module each; `hcflow.cli` puts them together."""
