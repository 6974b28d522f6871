"""Feature extraction on Ray Data: clips in, a feature set out."""
