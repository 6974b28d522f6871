"""Frames of all numbers of a report, before anything is drawn or written."""
