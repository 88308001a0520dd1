"""Forms of dense blocks: graphs with the same results, of which a compiler makes other kernels."""
