"""Any folder of images, read by this program and judged against Pillow and libvips."""
