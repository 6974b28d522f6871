"""The heads: the only parts that are trained (docs/method.md, section 2).

They are plain modules, so a worker loads nothing but torch. :mod:`conclugen.model` wraps the representation heads for
sharing.

Legend: b batch, d_m feature width of modality m, R representation, P projection, K clusters, D reconstruction width.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from conclugen.distributed import GlobalBatchNorm1d
from conclugen.hyperparameters import Hyperparameters
from conclugen.subsets import Loss

__all__ = ["GatedEmbeddingUnit", "PretrainingHeads", "RepresentationHeads", "fuse"]


class GatedEmbeddingUnit(nn.Module):
    """Gated embedding unit: three linear layers, of which the second gates the first (Miech et al. 2018, eq. 3-5)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.input = nn.Linear(in_features, out_features)
        self.gate = nn.Linear(out_features, out_features)
        self.output = nn.Linear(out_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (b, in_features) to non-negative representations (b, out_features)."""
        u = torch.relu(self.input(x))  # [b, out_features]
        g = u * torch.sigmoid(self.gate(u))  # [b, out_features]
        return torch.relu(self.output(g))  # [b, out_features]


class RepresentationHeads(nn.Module):
    """One representation head per modality.

    Args:
        widths: modality -> d_m, in modality order.
        representation_dim: R.
        lift_audio: whether the modality ``audio`` is an exception, as in the released code: its gated unit works at
            width d_audio, and a linear layer without activation lifts it to R.
    """

    def __init__(self, widths: Mapping[str, int], representation_dim: int, *, lift_audio: bool = False) -> None:
        super().__init__()
        self.representation_dim = representation_dim
        self.lift_audio = lift_audio
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(GatedEmbeddingUnit(width, width), nn.Linear(width, representation_dim))
                if lift_audio and name == "audio"
                else GatedEmbeddingUnit(width, representation_dim)
                for name, width in widths.items()
            }
        )

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map modality -> (b, d_m) to modality -> (b, R)."""
        return {name: self.heads[name](x) for name, x in features.items()}


class PretrainingHeads(nn.Module):
    """The heads that only pretraining needs; only those that the given losses use are built."""

    def __init__(self, widths: Mapping[str, int], losses: Collection[Loss], hyperparameters: Hyperparameters) -> None:
        super().__init__()
        h = hyperparameters
        self.projection: nn.Sequential | None = None
        self.cluster: nn.Linear | None = None
        self.reconstruction: nn.ModuleDict | None = None
        if Loss.CON in losses or Loss.CLU in losses:
            narrow = max(1, h.representation_dim // 8)
            self.projection = nn.Sequential(
                nn.Linear(h.representation_dim, narrow),
                GlobalBatchNorm1d(narrow),
                nn.ReLU(),
                nn.Linear(narrow, h.projection_dim),
                nn.ReLU(),
            )
        if Loss.CLU in losses:
            self.cluster = nn.Linear(h.projection_dim, h.num_clusters, bias=False)
        if Loss.GEN in losses:
            self.reconstruction = nn.ModuleDict(
                {
                    name: nn.Sequential(
                        nn.Linear(h.representation_dim, h.reconstruction_dim),
                        nn.ReLU(),
                        nn.Linear(h.reconstruction_dim, width),
                        nn.ReLU() if h.reconstruction_relu else nn.Identity(),
                    )
                    for name, width in widths.items()
                }
            )

    def project(
        self, representations: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Map modality -> (b, R) to unnormalised projections (b, P), with batch statistics per modality.

        Args:
            representations: modality -> (b, R).
            present: modality -> (b,) which rows have it and make its batch statistics; None if all have all.
        """
        if self.projection is None:
            raise ValueError("these losses have no projection head.")
        if present is None:
            return {name: self.projection(z) for name, z in representations.items()}
        projections = {}
        for name, x in representations.items():
            for layer in self.projection:
                x = layer(x, present[name]) if isinstance(layer, GlobalBatchNorm1d) else layer(x)
            projections[name] = x
        return projections

    def cluster_logits(self, projections: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map modality -> unnormalised (b, P) to cluster logits (b, K)."""
        if self.cluster is None:
            raise ValueError("these losses have no cluster head.")
        return {name: self.cluster(p) for name, p in projections.items()}

    def reconstruct(self, representations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map modality -> (b, R) to reconstructed features (b, d_m)."""
        if self.reconstruction is None:
            raise ValueError("these losses have no reconstruction heads.")
        return {name: self.reconstruction[name](z) for name, z in representations.items()}


def fuse(representations: Mapping[str, Tensor], fusion: str) -> Tensor:
    """Combine the representations of the modalities into one.

    Args:
        representations: modality -> (n, R).
        fusion: ``concat``, ``mean``, or the name of one modality.

    Returns:
        (n, modalities x R) for ``concat``, else (n, R).

    Raises:
        ValueError: ``fusion`` is none of these, or the modalities of a mean have different widths.
    """
    if fusion == "concat":
        return torch.cat(list(representations.values()), dim=1)
    if fusion == "mean":
        widths = {name: z.shape[1] for name, z in representations.items()}
        if len(set(widths.values())) > 1:
            raise ValueError(f"fusion 'mean' needs modalities of one width, got {widths}.")
        return torch.stack(list(representations.values())).mean(dim=0)
    if fusion not in representations:
        raise ValueError(f"fusion must be 'concat', 'mean' or one of {sorted(representations)}, got {fusion!r}.")
    return representations[fusion]
