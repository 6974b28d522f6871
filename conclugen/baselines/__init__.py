"""Baselines that the loss subsets are compared with."""
