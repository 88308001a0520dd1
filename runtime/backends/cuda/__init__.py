"""An NVIDIA GPU by the driver's API: memory, streams, arrays, and the kernel that draws latents."""
