"""Image files, pixels, metadata and video frames."""
