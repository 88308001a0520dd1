"""From a checkpoint to a bundle: folded modules, graphs, precisions, engines."""
