"""Parameters of a run: initialisation, averages, bfloat16."""
