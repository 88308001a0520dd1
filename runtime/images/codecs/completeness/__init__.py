"""Whether an image file has every row that its header states."""
