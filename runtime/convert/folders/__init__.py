"""A folder of images taken down or up: found, worked off by processes, recorded, resumed."""
