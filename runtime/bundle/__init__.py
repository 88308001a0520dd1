"""Bundles: manifest, graphs, engines, test vectors."""
