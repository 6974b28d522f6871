"""The pretraining losses as functions of tensors (docs/method.md, section 3).

Each function returns a scalar. Losses of several modalities take mappings from modality name to a (b, width) tensor,
in modality order.

Rows may lack modalities. Then ``present`` is modality -> (b,) of booleans, and a loss uses the pairs and modalities
that exist. Every term is a mean over the rows that have what it needs; a term for which there is no row is 0, and so is
its gradient. Shapes do not depend on the masks, so a GPU can replay the step. Without gaps ``present`` is None, and no
operation is added.

Legend: m modality, b batch, P projection width, K clusters, d_m feature width, δ margin.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["clustering_loss", "contrastive_loss", "mean_over_present", "nt_xent_loss", "reconstruction_loss"]


def contrastive_loss(
    projections: Mapping[str, Tensor],
    margin: float = 0.001,
    temperature: float = 1.0,
    present: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Return the masked-margin softmax loss over the ring of modality pairs 0-1, 1-2, 2-0 (two modalities: only 0-1).

    For each pair, similarities of the row-normalised projections are divided by ``temperature``, and δ is subtracted
    on the diagonal. The pair's loss is the cross-entropy of rows plus that of columns against the diagonal. The result
    is the sum over pairs. Only rows that have both modalities of a pair are its positives and its negatives.

    Args:
        projections: modality -> (b, P); rows need not be normalised.
        margin: δ.
        temperature: 1 reproduces the released code.
        present: see above.

    Raises:
        ValueError: fewer than two modalities.
    """
    if len(projections) < 2:
        raise ValueError(f"the contrastive loss compares modalities: it needs at least 2, but got {list(projections)}.")
    units = {name: functional.normalize(p, dim=1) for name, p in projections.items()}
    names = list(units)
    pairs = list(pairwise(names))
    if len(names) > 2:
        pairs.append((names[-1], names[0]))
    first = units[names[0]]
    targets = torch.arange(len(first), device=first.device)
    total = first.new_zeros(())
    for one, other in pairs:
        logits = units[one] @ units[other].T / temperature  # [b, b]
        # δ is constant, so subtracting in place costs b writes and no forward or backward pass over b x b numbers.
        with torch.no_grad():
            logits.diagonal().sub_(margin)
        both = None if present is None else present[one] & present[other]  # [b]
        if both is not None:
            # The least finite number: a row of minus infinities would have a gradient of NaN.
            logits = logits.masked_fill(~(both[:, None] & both), torch.finfo(logits.dtype).min)
        total = total + _cross_entropy(logits, targets, both) + _cross_entropy(logits.T, targets, both)
    return total


def mean_over_present(values: Mapping[str, Tensor], present: Mapping[str, Tensor] | None) -> Tensor:
    """Return the mean (b, width) over the modalities that a row has, of modality -> (b, width).

    Args:
        values: modality -> (b, width).
        present: see above; every row has a modality.
    """
    stacked = torch.stack(list(values.values()))  # [modalities, b, width]
    if present is None:
        return stacked.mean(dim=0)
    masks = torch.stack([present[name] for name in values])[:, :, None]  # [modalities, b, 1]
    return torch.where(masks, stacked, 0).sum(dim=0) / masks.sum(dim=0).clamp(min=1)


def clustering_loss(
    logits: Mapping[str, Tensor],
    centroids: Tensor,
    labels: Tensor,
    mode: Literal["individual", "joint"] = "individual",
    margin: float = 0.001,
    present: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Return the cross-entropy of the cluster logits' similarity to the centroids against the k-means labels.

    Only modalities that a row has are pulled to its centroid.

    Args:
        logits: modality -> c_m (b, K).
        centroids: μ (K, K), one row per cluster.
        labels: (b,) cluster of each sample.
        mode: ``individual`` sums one term per modality; ``joint`` is one term on the mean of a row's modalities.
        margin: δ, subtracted from the similarity to the centroid of the sample's cluster.
        present: see above; every row has a modality.

    Raises:
        ValueError: ``mode`` is neither of the two.
    """
    if mode not in ("individual", "joint"):
        raise ValueError(f"mode must be 'individual' or 'joint', but got {mode!r}.")
    terms = {name: (c, None if present is None else present[name]) for name, c in logits.items()}
    if mode == "joint":
        terms = {mode: (mean_over_present(logits, present), None)}
    # Not one_hot, which synchronises with the host to check the labels.
    clusters = torch.arange(len(centroids), device=labels.device)
    margins = margin * (labels[:, None] == clusters).to(centroids.dtype)  # [b, K]
    return torch.stack([_cross_entropy(c @ centroids.T - margins, labels, rows) for c, rows in terms.values()]).sum()


def reconstruction_loss(
    reconstructions: Mapping[str, Tensor],
    features: Mapping[str, Tensor],
    present: Mapping[str, Tensor] | None = None,
    rows: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Return the sum over modalities of the mean squared error (over all entries) between (b, d_m) tensors.

    Args:
        reconstructions: modality -> (b, d_m).
        features: modality -> (b, d_m), the targets.
        present: see above; the mean is over the entries of rows that have the modality.
        rows: modality -> the number of rows by which its errors are divided; None for those in ``present``. Workers
            that share a batch give the mean number over workers, so that their mean loss is that of the batch.
    """
    if present is None:
        return torch.stack([functional.mse_loss(r, features[name]) for name, r in reconstructions.items()]).sum()
    terms = []
    for name, reconstruction in reconstructions.items():
        errors = functional.mse_loss(reconstruction, features[name], reduction="none").mean(dim=1)  # [b]
        count = present[name].sum() if rows is None else rows[name]
        terms.append(torch.where(present[name], errors, 0).sum() / torch.where(count > 0, count, 1.0))
    return torch.stack(terms).sum()


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


def _cross_entropy(logits: Tensor, targets: Tensor, present: Tensor | None) -> Tensor:
    """Return the mean cross-entropy of logits (b, classes) over the rows in ``present`` (b,); None for all rows."""
    if present is None:
        return functional.cross_entropy(logits, targets)
    return _mean_over(functional.cross_entropy(logits, targets, reduction="none"), present)


def _mean_over(values: Tensor, present: Tensor) -> Tensor:
    """Return the mean of values (b,) over the rows in ``present`` (b,); 0 if there is none."""
    return torch.where(present, values, 0).sum() / present.sum().clamp(min=1)
