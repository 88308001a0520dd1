"""Millions of images: lists of names, shards of them, object storage, Ray."""
