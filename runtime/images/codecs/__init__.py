"""Image files: decoders, encoders, metadata and what they can hold."""
