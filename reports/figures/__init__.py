"""Figures of a report, drawn with matplotlib from frames of numbers."""
