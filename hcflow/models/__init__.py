"""Models by name: what ships, and how it is opened."""
