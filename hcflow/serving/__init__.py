"""Models behind a network: HTTP, the KServe protocol, metrics."""
