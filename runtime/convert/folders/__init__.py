"""A folder of images converted: found, run by worker processes, listed when finished, resumed."""
