"""Figures of a report, made with Altair from frames of numbers.

A module draws one kind of figure and computes no number. Each figure has two specifications in Vega-Lite: one for the
page, one for files.
"""
