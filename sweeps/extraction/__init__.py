"""Clips to features on Ray Data."""
