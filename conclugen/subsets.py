"""The seven loss subsets of the ablation.

A subset's name lists its losses in the order contrastive (Con), clustering (Clu), generative (Gen), as in the paper's
tables. The eighth cell of the factorial has no loss. It is the randomly initialised head: a baseline, not a subset.
"""

from collections.abc import Mapping
from enum import StrEnum
from itertools import combinations
from types import MappingProxyType

__all__ = ["SUBSETS", "Loss"]


class Loss(StrEnum):
    """A pretraining loss; the value is its name in subset names and tables."""

    CON = "Con"
    CLU = "Clu"
    GEN = "Gen"


SUBSETS: Mapping[str, tuple[Loss, ...]] = MappingProxyType(
    {"".join(losses): losses for size in (1, 2, 3) for losses in combinations(Loss, size)}
)
"""Subset name -> its losses: Con, Clu, Gen, ConClu, ConGen, CluGen, ConCluGen, in this order."""
