"""HTML pages: comparison of pictures, profile of a model."""
