"""ConCluGen: multi-modal self-supervised representations from frozen features.

The package holds the method: feature sets, heads, the three losses, clustering, pretraining and the downstream probe.
It does not use Ray or Optuna, and importing it loads no heavy library.

Source: Halawa et al., "Multi-Task Multi-Modal Self-Supervised Learning for Facial Expression Recognition",
CVPR 2024 ABAW workshop, arXiv 2404.10904.
"""

__version__ = "0.3.0"


def release(version: str = __version__) -> str:
    """Return the major and minor number of a version; patch releases change neither files nor results."""
    return ".".join(version.split(".")[:2])
