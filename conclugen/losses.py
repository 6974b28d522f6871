"""The pretraining losses as functions of tensors (docs/method.md, section 3).

Each function returns a scalar. Losses of several modalities take mappings from modality name to a (b, width) tensor,
in modality order.

Legend: m modality, b batch, P projection width, K clusters, d_m feature width, δ margin.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["clustering_loss", "contrastive_loss", "nt_xent_loss", "reconstruction_loss"]


def contrastive_loss(projections: Mapping[str, Tensor], margin: float = 0.001, temperature: float = 1.0) -> Tensor:
    """Return the masked-margin softmax loss over the ring of modality pairs 0-1, 1-2, 2-0 (two modalities: only 0-1).

    For each pair, similarities of the row-normalised projections are divided by ``temperature``, and δ is subtracted
    on the diagonal. The pair's loss is the cross-entropy of rows plus that of columns against the diagonal. The result
    is the sum over pairs.

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
        # δ is constant, so subtracting in place costs b writes and no forward or backward pass over b x b numbers.
        with torch.no_grad():
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
    """Return the cross-entropy of the cluster logits' similarity to the centroids against the k-means labels.

    Args:
        logits: modality -> c_m (b, K).
        centroids: μ (K, K), one row per cluster.
        labels: (b,) cluster of each sample.
        mode: ``individual`` sums one term per modality; ``joint`` is one term on the modalities' mean.
        margin: δ, subtracted from the similarity to the centroid of the sample's cluster.

    Raises:
        ValueError: ``mode`` is neither of the two.
    """
    if mode not in ("individual", "joint"):
        raise ValueError(f"mode must be 'individual' or 'joint', but got {mode!r}.")
    terms = list(logits.values())
    if mode == "joint":
        terms = [torch.stack(terms).mean(dim=0)]
    # Not one_hot, which synchronises with the host to check the labels.
    clusters = torch.arange(len(centroids), device=labels.device)
    margins = margin * (labels[:, None] == clusters).to(centroids.dtype)  # [b, K]
    return torch.stack([functional.cross_entropy(c @ centroids.T - margins, labels) for c in terms]).sum()


def reconstruction_loss(reconstructions: Mapping[str, Tensor], features: Mapping[str, Tensor]) -> Tensor:
    """Return the sum over modalities of the mean squared error (over all entries) between (b, d_m) tensors."""
    return torch.stack([functional.mse_loss(r, features[name]) for name, r in reconstructions.items()]).sum()


def nt_xent_loss(first: Tensor, second: Tensor, temperature: float = 1.0) -> Tensor:
    """Return SimCLR's normalised temperature-scaled cross-entropy over two views (Chen et al. 2020, eq. 1).

    The positive of a view is the sample's other view. Its negatives are the 2b - 2 views of the other samples.

    Args:
        first: (b, P) projections of the first views; rows need not be normalised.
        second: (b, P) projections of the second views.
        temperature: divisor of the similarities.
    """
    views = functional.normalize(torch.cat([first, second]), dim=1)  # [2b, P]
    b = len(first)
    itself = torch.eye(2 * b, dtype=torch.bool, device=views.device)
    logits = (views @ views.T / temperature).masked_fill(itself, -torch.inf)  # [2b, 2b]
    return functional.cross_entropy(logits, torch.arange(2 * b, device=views.device).roll(b))
