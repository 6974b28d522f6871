"""Pretraining: frozen features in, a trained representation head out (METHOD sections 1 to 3, 5).

One object holds one run. It advances epoch by epoch, and its whole state goes out and in as plain tensors, so a run
cut anywhere continues exactly: data order, dropout and k-means seeds are functions of (seed, epoch, step), and what
else lives across steps is in the state.

Legend: b batch, d_m width of modality m, K clusters.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from conclugen.clustering import ClusterQueue, kmeans
from conclugen.features import StandardisedSplit
from conclugen.hyperparameters import Hyperparameters
from conclugen.losses import clustering_loss, contrastive_loss, reconstruction_loss
from conclugen.model import ConCluGenHead, PretrainingHeads
from conclugen.schedule import learning_rate_factor
from conclugen.seeds import derive_seed
from conclugen.subsets import Loss

__all__ = ["DivergedError", "Pretraining", "build_head", "represent"]


_CHUNK = 8192  # rows per forward pass outside training


class DivergedError(ArithmeticError):
    """The loss is NaN or infinite."""


def build_head(widths: Mapping[str, int], hyperparameters: Hyperparameters, seed: int) -> ConCluGenHead:
    """Return the randomly initialised head that a run with this seed starts from."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "head"))
        return ConCluGenHead(widths, hyperparameters.representation_dim, lift_audio=hyperparameters.lift_audio)


class Pretraining:
    """One pretraining run on the rows of ``data``.

    Args:
        data: standardised training rows.
        widths: modality -> d_m, in modality order.
        losses: the subset's losses, at least one.
        hyperparameters: see there.
        epochs: full length of the run; the learning-rate schedule ends with it.
        seed: identity of the run; every random choice follows from it.
    """

    def __init__(
        self,
        data: StandardisedSplit,
        widths: Mapping[str, int],
        losses: Sequence[Loss],
        hyperparameters: Hyperparameters,
        *,
        epochs: int,
        seed: int,
    ) -> None:
        self.epoch = 0
        self.head = build_head(widths, hyperparameters, seed).to(data.device)
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(seed, "pretraining heads"))
            self._heads = PretrainingHeads(widths, losses, hyperparameters).to(data.device)
        self._data, self._losses, self._h = data, tuple(losses), hyperparameters
        self._epochs, self._seed = epochs, seed
        self._batch_size = min(hyperparameters.batch_size, len(data))
        self._modules = nn.ModuleDict({"head": self.head, "heads": self._heads})
        self._optimizer = torch.optim.AdamW(
            self._modules.parameters(), lr=hyperparameters.lr, weight_decay=hyperparameters.weight_decay, fused=True
        )
        self._queue = ClusterQueue(hyperparameters.kmeans_queue_size)
        self._weights = {
            Loss.CON: hyperparameters.weight_con,
            Loss.CLU: hyperparameters.weight_clu,
            Loss.GEN: hyperparameters.weight_gen,
        }

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch: a short last batch would have other batch statistics and is left out."""
        return len(self._data) // self._batch_size

    def run_epoch(self, max_steps: int | None = None) -> dict[str, float]:
        """Train for one epoch and return the mean of each active loss (unweighted) and of their ``total``.

        Args:
            max_steps: end the epoch after so many steps, for measuring what a step costs.

        Raises:
            DivergedError: the total became NaN or infinite.
        """
        factor = learning_rate_factor(
            self.epoch, warmup=self._h.warmup_epochs, period=max(1, self._epochs - self._h.warmup_epochs)
        )
        for group in self._optimizer.param_groups:
            group["lr"] = self._h.lr * factor
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "epoch", self.epoch))
        order = torch.randperm(len(self._data), generator=generator)
        steps = self.steps_per_epoch if max_steps is None else min(self.steps_per_epoch, max_steps)
        self._modules.train()
        self._queue.clear()
        sums: dict[str, Tensor] = {}
        for step in range(steps):
            rows = order[step * self._batch_size : (step + 1) * self._batch_size]
            losses = self._step(self._data.batch(rows), derive_seed(self._seed, "step", self.epoch, step))
            for name, value in losses.items():
                sums[name] = sums[name] + value if name in sums else value
        means = {name: float(value) / steps for name, value in sums.items()}
        if not all(map(math.isfinite, means.values())):
            raise DivergedError(f"loss is not finite in epoch {self.epoch}: {means}")
        self.epoch += 1
        return means

    def _step(self, features: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        active = self._active_losses(features, seed)
        if not active:  # Clu alone before its first epoch
            return {}
        total = torch.stack([self._weights[loss] * value for loss, value in active.items()]).mean()
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        self._optimizer.step()
        return {**{str(loss): value.detach() for loss, value in active.items()}, "total": total.detach()}

    def _active_losses(self, features: dict[str, Tensor], seed: int) -> dict[Loss, Tensor]:
        h, losses = self._h, set(self._losses)
        if self.epoch < h.kmeans_start_epoch:
            losses.discard(Loss.CLU)
        representations = self.head(self._drop(features, seed))
        active: dict[Loss, Tensor] = {}
        if losses & {Loss.CON, Loss.CLU}:
            projections = self._heads.project(representations)
        if Loss.CON in losses:
            active[Loss.CON] = contrastive_loss(projections, h.margin, h.temperature)
        if Loss.CLU in losses:
            logits = self._heads.cluster_logits(projections)
            mean = torch.stack(list(logits.values())).mean(dim=0).detach()  # [b, K]
            centroids, labels = kmeans(self._queue.extend(mean), h.num_clusters, seed)
            active[Loss.CLU] = clustering_loss(logits, centroids, labels[-len(mean) :], h.kmeans_loss_mode, h.margin)
        if Loss.GEN in losses:
            active[Loss.GEN] = reconstruction_loss(self._heads.reconstruct(representations), features)
        return active

    def _drop(self, features: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        """Feature dropout on the inputs; the reconstruction target stays the whole features."""
        if self._h.feature_dropout == 0:
            return features
        device = next(iter(features.values())).device
        generator = torch.Generator(device).manual_seed(derive_seed(seed, "feature dropout"))
        keep = 1 - self._h.feature_dropout
        return {
            name: x * (torch.rand(x.shape, generator=generator, device=device) < keep) / keep
            for name, x in features.items()
        }

    def state(self) -> dict[str, Tensor]:
        """Return everything that the rest of the run depends on, as named tensors (between epochs).

        They are the run's own, which its next epoch changes.
        """
        tensors = {f"modules.{name}": value for name, value in self._modules.state_dict().items()}
        for index, slots in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
        return {**tensors, "epoch": torch.tensor(self.epoch)}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what :meth:`state` returned in a run with the same arguments."""
        self.epoch = int(tensors["epoch"])
        prefix = "modules."
        self._modules.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "optimizer":
                index, _, slot = rest.partition(".")
                slots.setdefault(int(index), {})[slot] = value.clone()
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": slots})


@torch.no_grad()
def represent(head: ConCluGenHead, data: StandardisedSplit, rows: Tensor) -> Tensor:
    """Return the head's concatenated representations (n, modalities x R) of ``rows`` (n,), without dropout."""
    head.eval()
    return torch.cat([torch.cat(list(head(data.batch(chunk)).values()), dim=1) for chunk in rows.split(_CHUNK)])
