"""Limits on bytes and on a file's structure, checked before a decoder sees it."""
