"""Heads for others: model folders, and the weights of the released code."""
