"""Evaluation of representations on labelled data: probes, the choice of their settings, metrics.

See docs/method.md, section 4.
"""
