"""Training patches from a folder of images."""
