"""The version of the distribution `hcflow-deploy`."""

__version__ = "0.1.0"
