"""Checks on the machine that runs a bundle: parity, tiles, latency, self-test."""
