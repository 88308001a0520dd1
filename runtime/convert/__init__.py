"""Image files and folders in, image files and folders out."""
