"""Pretraining of a head, and the execution of its steps."""
