"""Settings that users write: YAML text, paths, and what is said about wrong ones."""
