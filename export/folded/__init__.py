"""The network with everything constant folded into plain convolutions."""
