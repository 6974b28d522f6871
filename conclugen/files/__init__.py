"""Files that survive a crash, and tensors in files."""
