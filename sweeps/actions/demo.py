"""The demo: a built-in feature set, and a configuration for users to copy from."""

from pathlib import Path

from conclugen.features.digits import write_digits

__all__ = ["write_demo"]

_CONFIG = """\
# Handwritten digits as three modalities, which stand in for the features of a video, an audio and a text backbone.
name: demo
features:
  pretrain: digits
  downstream: {digits: digits}
modalities: [video, audio, text]
subsets: all
space: small
baselines: [raw_features, raw_pca, label_spreading, random_head]
budget: {trials_per_subset: 4, epochs: 40, seeds: 3}
# By default, the 3 best of each search are trained anew, and the best mean is confirmed. The demo saves that time.
search: {finalists: 1}
objective: {metric: weighted_f1, labels_per_class: 5}
probe: {labels_per_class: 5, every: 20}
seed: 127
"""


def write_demo(out: Path) -> Path:
    """Write the demo's feature set and configuration into ``out``; return the configuration's path."""
    write_digits(out / "digits")
    config = out / "demo.yaml"
    config.write_text(_CONFIG, encoding="utf-8")
    return config
