"""What an image file states beside its pixels: EXIF, XMP, density, and how the image was made."""
