"""A graph over an image: grid, tiles, latents, stitching."""
