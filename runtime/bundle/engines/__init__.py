"""Compiled engines: their entries, whether they fit a machine, and the cache that keeps them."""
