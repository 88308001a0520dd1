"""What the commands of `hcflow` share: the program, options, inputs and outputs."""
