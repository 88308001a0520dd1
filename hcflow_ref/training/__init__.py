"""Training of every network of the paper with the paper's objectives (HCFLOW.md section 6)."""
