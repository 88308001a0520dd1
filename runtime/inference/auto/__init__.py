"""What `auto` takes: backend, precision, engines, grid, and the choice that opens."""
