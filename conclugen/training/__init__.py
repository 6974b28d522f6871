"""Pretraining of a head, and how its steps are executed."""
