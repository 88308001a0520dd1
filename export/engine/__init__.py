"""TensorRT engines: options, compilation, refit and what the compiler reports."""
