"""The seven loss subsets of the ablation, and what each of them needs.

A subset is named by its losses in the order contrastive (Con), clustering (Clu), generative (Gen), as in the paper's
tables. The eighth cell of the factorial, no loss at all, is the randomly initialised head: a baseline, not a subset.
"""

from collections.abc import Mapping
from enum import StrEnum
from itertools import combinations
from types import MappingProxyType

__all__ = ["SUBSETS", "Loss"]


class Loss(StrEnum):
    """One pretraining loss; the value is its name in subset names and tables."""

    CON = "Con"
    CLU = "Clu"
    GEN = "Gen"


SUBSETS: Mapping[str, tuple[Loss, ...]] = MappingProxyType(
    {"".join(losses): losses for size in (1, 2, 3) for losses in combinations(Loss, size)}
)
"""Subset name -> its losses: Con, Clu, Gen, ConClu, ConGen, CluGen, ConCluGen, in this order."""
