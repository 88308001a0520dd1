"""The machine: memory, processors, files written whole, arguments."""
