"""Frames of numbers: what a report says, before anything is drawn or written."""
