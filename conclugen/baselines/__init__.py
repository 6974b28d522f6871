"""What the loss subsets are compared with."""
