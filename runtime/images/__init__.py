"""Image files, pixels and video frames."""
