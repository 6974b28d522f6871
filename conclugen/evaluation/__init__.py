"""What representations are worth on labelled data: probes, the choice of their settings, metrics (METHOD section 4)."""
