"""What `hcflow upscale` and `hcflow downscale` share: options, and the kinds of input."""
