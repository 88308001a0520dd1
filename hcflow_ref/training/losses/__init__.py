"""Training objectives, the discriminator and perceptual features."""
