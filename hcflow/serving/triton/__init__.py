"""Models in repositories of NVIDIA's Triton Inference Server."""
