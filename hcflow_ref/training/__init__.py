"""Training of every network of the paper with the paper's objectives (docs/network.md, 6)."""
