"""The three pretraining losses as functions of tensors (METHOD section 3).

Legend: m modality, b batch, P projection width, K clusters, d_m feature width, δ margin. Each function takes mappings
from modality name to a (b, width) tensor in modality order and returns a scalar.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["clustering_loss", "contrastive_loss", "nt_xent_loss", "reconstruction_loss"]


def contrastive_loss(projections: Mapping[str, Tensor], margin: float = 0.001, temperature: float = 1.0) -> Tensor:
    """Masked-margin softmax over the ring of modality pairs 0-1, 1-2, 2-0 (two modalities: the one pair 0-1).

    For each pair, similarities of the row-normalised projections are divided by ``temperature``, δ is subtracted on the
    diagonal, and the cross-entropies of rows and of columns against the diagonal are added; pairs are summed.

    Args:
        projections: modality -> (b, P); rows need not be normalised.
        margin: δ.
        temperature: 1 reproduces the released code.

    Raises:
        ValueError: fewer than two modalities.
    """
    if len(projections) < 2:
        raise ValueError(f"the contrastive loss compares modalities: it needs at least 2, but got {list(projections)}.")
    units = [functional.normalize(p, dim=1) for p in projections.values()]
    pairs = list(pairwise(units))
    if len(units) > 2:
        pairs.append((units[-1], units[0]))
    targets = torch.arange(len(units[0]), device=units[0].device)
    total = units[0].new_zeros(())
    for p, q in pairs:
        logits = p @ q.T / temperature  # [b, b]
        with torch.no_grad():  # a constant: in place, it costs b writes and no pass over b x b of either direction
            logits.diagonal().sub_(margin)
        total = total + functional.cross_entropy(logits, targets) + functional.cross_entropy(logits.T, targets)
    return total


def clustering_loss(
    logits: Mapping[str, Tensor],
    centroids: Tensor,
    labels: Tensor,
    mode: Literal["individual", "joint"] = "individual",
    margin: float = 0.001,
) -> Tensor:
    """Cross-entropy of the cluster logits' similarity to the centroids against the k-means labels.

    Args:
        logits: modality -> c_m (b, K).
        centroids: μ (K, K), one row per cluster.
        labels: (b,) cluster of each sample.
        mode: ``individual`` sums one term per modality; ``joint`` takes one term on the modalities' mean.
        margin: δ, subtracted from the similarity to the sample's own centroid.

    Raises:
        ValueError: ``mode`` is neither of the two.
    """
    if mode not in ("individual", "joint"):
        raise ValueError(f"mode must be 'individual' or 'joint', but got {mode!r}.")
    terms = list(logits.values())
    if mode == "joint":
        terms = [torch.stack(terms).mean(dim=0)]
    # Not one_hot, which asks the host whether the labels are in range.
    own = margin * (labels[:, None] == torch.arange(len(centroids), device=labels.device)).to(centroids.dtype)  # [b, K]
    return torch.stack([functional.cross_entropy(c @ centroids.T - own, labels) for c in terms]).sum()


def reconstruction_loss(reconstructions: Mapping[str, Tensor], features: Mapping[str, Tensor]) -> Tensor:
    """Sum over modalities of the mean squared error (over all entries) between (b, d_m) tensors."""
    return torch.stack([functional.mse_loss(r, features[name]) for name, r in reconstructions.items()]).sum()


def nt_xent_loss(first: Tensor, second: Tensor, temperature: float = 1.0) -> Tensor:
    """SimCLR's normalised temperature-scaled cross-entropy over two views (Chen et al. 2020, eq. 1).

    Each view's positive is the sample's other view; the other 2b - 2 views are its negatives, of either kind.

    Args:
        first: (b, P) projections of one view; rows need not be normalised.
        second: (b, P) of the other.
        temperature: similarities are divided by it.
    """
    views = functional.normalize(torch.cat([first, second]), dim=1)  # [2b, P]
    b = len(first)
    itself = torch.eye(2 * b, dtype=torch.bool, device=views.device)
    logits = (views @ views.T / temperature).masked_fill(itself, -torch.inf)  # [2b, 2b]
    return functional.cross_entropy(logits, torch.arange(2 * b, device=views.device).roll(b))
