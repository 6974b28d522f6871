"""ConCluGen: multi-modal self-supervised representations from frozen features.

The science of the project: feature sets, heads, the three losses, clustering, pretraining and the downstream probe.
It knows nothing of Ray or Optuna, and importing this package loads no heavy library.

Source: Halawa et al., "Multi-Task Multi-Modal Self-Supervised Learning for Facial Expression Recognition",
CVPR 2024 ABAW workshop, arXiv 2404.10904.
"""

__version__ = "0.3.0"


def release(version: str = __version__) -> str:
    """Major and minor number of a version of this program: its patches keep files and results as they are."""
    return ".".join(version.split(".")[:2])
