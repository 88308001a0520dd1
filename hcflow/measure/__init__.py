"""What `hcflow evaluate` and `hcflow profile` measure."""
