"""Image files of several frames: animations, and the pages of a TIFF."""
