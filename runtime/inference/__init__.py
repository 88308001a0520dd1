"""Run a graph over an image: grid, tiles, latents, stitching."""
