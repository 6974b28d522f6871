"""Pretraining: frozen features in, a trained representation head out (docs/method.md, sections 1 to 3 and 5).

One object holds one run. It advances epoch by epoch, and its state is saved and loaded as plain tensors. Data order,
dropout and k-means seeds are functions of (seed, epoch, step), and everything else that lives across epochs is in the
state. So an interrupted run continues exactly.

:mod:`conclugen.training.execution` decides how a step is executed (precision, optimiser, graphs). For that, a step is a
function of tensors alone. Random numbers and host values are computed before it and are its inputs. State that lives
across steps (weights, moments, centroids, the queue, the sums of losses) changes in place.

With N workers, each joins the process group before it makes the object. Each worker then runs an equal object on its
share of every batch, and all hold the same state.

Legend: B batch, b = B/N rows of this worker, d_m width of modality m, P projection width, K clusters.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from conclugen.clustering import ClusterQueue, kmeans
from conclugen.distributed import average, average_gradients, broadcast, gather, rank_and_size
from conclugen.features.batches import StandardisedSplit
from conclugen.heads import PretrainingHeads, RepresentationHeads, fuse
from conclugen.hyperparameters import Hyperparameters
from conclugen.losses import clustering_loss, contrastive_loss, mean_over_present, reconstruction_loss
from conclugen.seeds import derive_seed
from conclugen.subsets import Loss
from conclugen.training.execution import Execution
from conclugen.training.schedule import learning_rate_factor

__all__ = ["CHUNK_ROWS", "DivergedError", "Pretraining", "build_head", "represent"]

CHUNK_ROWS = 8192
"""Rows per forward pass outside training."""


class DivergedError(ArithmeticError):
    """The loss is NaN or infinite."""


def build_head(widths: Mapping[str, int], hyperparameters: Hyperparameters, seed: int) -> RepresentationHeads:
    """Return the randomly initialised head from which a run with this seed starts."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "head"))
        return RepresentationHeads(widths, hyperparameters.representation_dim, lift_audio=hyperparameters.lift_audio)


class Pretraining:
    """One pretraining run on the rows of ``data``.

    Args:
        data: standardised training rows; an epoch takes each sample once, in one of its versions. Samples that have
            none of the modalities are left out.
        widths: modality -> d_m, in modality order.
        losses: the subset's losses, at least one.
        hyperparameters: see :class:`conclugen.hyperparameters.Hyperparameters`.
        epochs: full length of the run; the learning-rate schedule ends with it.
        seed: identity of the run; every random choice follows from it.
        execution: execution of the steps; None for the fastest that the data's device allows.

    Raises:
        ValueError: the workers cannot share a batch equally.
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
        execution: Execution | None = None,
    ) -> None:
        self.epoch = 0
        self.execution = execution or Execution.on(data.device)
        self.head = build_head(widths, hyperparameters, seed).to(data.device)
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(seed, "pretraining heads"))
            self._heads = PretrainingHeads(widths, losses, hyperparameters).to(data.device)
        self._data = data
        self._losses = tuple(losses)
        self._h = hyperparameters
        self._versions = data.trainable  # (s, v)
        self._has_gaps = not all(mask[self._versions].all() for mask in data.gaps.values())
        self._epochs = epochs
        self._seed = seed
        self._batch_size = min(hyperparameters.batch_size, self.samples)
        rank, workers = rank_and_size()
        if self._batch_size % workers:
            raise ValueError(
                f"a batch must divide among the workers, but got {self._batch_size} rows for {workers}; choose a "
                f"batch_size that is a multiple of {workers} and at most the {self.samples} training samples."
            )
        share = self._batch_size // workers
        self._share = slice(rank * share, (rank + 1) * share)  # this worker's rows of a batch
        self._modules = nn.ModuleDict({"head": self.head, "heads": self._heads})
        self._optimizer = self.execution.optimizer(
            self._modules.parameters(), lr=hyperparameters.lr, weight_decay=hyperparameters.weight_decay
        )
        self._queue = ClusterQueue(hyperparameters.kmeans_queue_size, hyperparameters.kmeans_queue_thinning)
        self._centroids: Tensor | None = None  # (K, K), the start of the next k-means
        # Sums over an epoch's steps: of each active loss, then of the total.
        self._sums = torch.zeros(len(self._losses) + 1, device=data.device)
        self._best_total, self._epochs_since_best = math.inf, 0
        self._weights = {
            Loss.CON: hyperparameters.weight_con,
            Loss.CLU: hyperparameters.weight_clu,
            Loss.GEN: hyperparameters.weight_gen,
        }

    @property
    def samples(self) -> int:
        """The number of samples in an epoch; the versions of a sample count once."""
        return len(self._versions)

    @property
    def steps_per_epoch(self) -> int:
        """The optimiser steps of an epoch; a short last batch is left out, as its batch statistics would differ."""
        return self.samples // self._batch_size

    @property
    def finished(self) -> bool:
        """Whether the epochs are over, or the total has not improved for ``early_stop_epochs``."""
        return self.epoch >= self._epochs or 0 < self._h.early_stop_epochs <= self._epochs_since_best

    def run_epoch(self, max_steps: int | None = None) -> dict[str, float]:
        """Train for one epoch and return the mean of each active loss (unweighted) and of their ``total``.

        The means are over whole batches and the same on every worker.

        Args:
            max_steps: end the epoch after so many steps, to measure the cost of a step.

        Raises:
            DivergedError: the total became NaN or infinite.
        """
        factor = learning_rate_factor(
            self.epoch,
            warmup=self._h.warmup_epochs,
            period=self._h.restart_epochs or max(1, self._epochs - self._h.warmup_epochs),
            decay=self._h.restart_decay,
        )
        self._optimizer.lr = self._h.lr * factor
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "epoch", self.epoch))
        order = torch.randperm(self.samples, generator=generator)
        steps = self.steps_per_epoch if max_steps is None else min(self.steps_per_epoch, max_steps)
        active = self._active
        self._modules.train()
        self._sums.zero_()
        for step in range(steps if active else 0):
            rows = order[step * self._batch_size : (step + 1) * self._batch_size][self._share]  # [b]
            seed = derive_seed(self._seed, "step", self.epoch, step)
            inputs = self._inputs(self._batch(rows, seed), seed)
            if self._has_gaps:
                inputs.append(self._data.present(self._chosen(rows, seed)))
            self.execution.run(self._kind(step), partial(self._step, number=step, seed=seed), inputs)
        names = [*map(str, active), "total"] if active else []
        sums: list[float] = average(self._sums).tolist()
        means = {name: value / steps for name, value in zip(names, sums, strict=False)}
        if not all(map(math.isfinite, means.values())):
            raise DivergedError(f"loss is not finite in epoch {self.epoch}: {means}")
        self.epoch += 1
        self._note_total(means)
        return means

    def _note_total(self, means: Mapping[str, float]) -> None:
        """Count the epochs without improvement for the early stop.

        Epochs count only while every loss is active. Before clustering starts, the total has other losses, and a run
        that stopped there would not belong to its subset.
        """
        if len(means) <= len(self._losses):
            return
        improved = means["total"] < self._best_total
        self._best_total = min(means["total"], self._best_total)
        self._epochs_since_best = 0 if improved else self._epochs_since_best + 1

    def _batch(self, rows: Tensor, seed: int) -> dict[str, Tensor]:
        """Return modality -> (b, d_m) for the samples ``rows`` (b,), each in a random version."""
        return self._data.batch(self._chosen(rows, seed))

    def _chosen(self, rows: Tensor, seed: int) -> Tensor:
        """Return the row (b,) of the random version of each of the samples ``rows`` (b,)."""
        generator = torch.Generator().manual_seed(derive_seed(seed, "versions"))
        version = torch.randint(self._versions.shape[1], (self._batch_size,), generator=generator)[self._share]
        return self._versions[rows, version]

    def _inputs(self, features: dict[str, Tensor], seed: int) -> list[dict[str, Tensor]]:
        """Return the inputs of a step: modality -> (b, d_m) for the head first, and the target of Gen last.

        If rows have gaps, modality -> (b,) of booleans follows: which rows have it.
        """
        if self._h.feature_dropout == 0:
            return [features]
        dropped = self._drop(features, seed)
        return [dropped, features] if Loss.GEN in self._losses else [dropped]

    def _drop(self, features: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        """Return the features (b, d_m) with feature dropout; the reconstruction target keeps all features."""
        device = self._data.device
        generator = torch.Generator(device).manual_seed(derive_seed(seed, "feature dropout"))
        keep = 1 - self._h.feature_dropout
        dropped = {}
        for name, x in features.items():
            noise = torch.rand(self._batch_size, x.shape[1], generator=generator, device=device)  # [B, d_m]
            dropped[name] = (x * (noise[self._share] < keep)).div_(keep)
        return dropped

    @property
    def _active(self) -> tuple[Loss, ...]:
        """The losses of the present epoch; none for a run with Clu alone before clustering starts."""
        return tuple(loss for loss in self._losses if loss != Loss.CLU or self.epoch >= self._h.kmeans_start_epoch)

    def _kind(self, step: int) -> Hashable:
        """Return the kind of a step; see :meth:`conclugen.training.execution.Execution.run`."""
        active = self._active
        if Loss.CLU in active and self._centroids is None:
            return None  # k-means starts from random points, which depend on the step's seed
        return active, Loss.CLU in active and self._queue.full(step)

    def _step(self, inputs: Sequence[Mapping[str, Tensor]], *, number: int, seed: int) -> None:
        """Train on batch ``number`` of the epoch, and add its losses and their total to the sums."""
        values = self._values(inputs, number, seed)
        total = torch.stack([self._weights[loss] * value for loss, value in values.items()]).mean()
        self._optimizer.zero_grad()
        total.backward()
        average_gradients(self._modules.parameters())
        self._optimizer.step()
        self._sums[: len(values) + 1].add_(torch.stack([*values.values(), total]).detach())

    def _values(self, inputs: Sequence[Mapping[str, Tensor]], number: int, seed: int) -> dict[Loss, Tensor]:
        """Return the unweighted active losses, in the order of the run's losses."""
        h = self._h
        active = self._active
        execution = self.execution
        projects = Loss.CON in active or Loss.CLU in active
        features, present = (inputs[:-1], inputs[-1]) if self._has_gaps else (inputs, None)
        with execution.heads():
            representations = self.head(features[0])
            projections = self._heads.project(representations, present) if projects else {}
            reconstructions = self._heads.reconstruct(representations) if Loss.GEN in active else {}
        # Con and Clu compare all rows of a batch, so from now on every worker computes on all of them.
        projections = {name: gather(execution.full(p)) for name, p in projections.items()}  # [B, P]
        everywhere = None if present is None else {name: gather(mask.float()) > 0 for name, mask in present.items()}
        values: dict[Loss, Tensor] = {}
        if Loss.CON in active:
            values[Loss.CON] = contrastive_loss(projections, h.margin, h.temperature, everywhere)
        if Loss.CLU in active:
            logits = self._heads.cluster_logits(projections)
            mean = mean_over_present(logits, everywhere).detach()  # [B, K]
            centroids, labels = self._cluster(mean, number, seed)
            values[Loss.CLU] = clustering_loss(logits, centroids, labels, h.kmeans_loss_mode, h.margin, everywhere)
        if Loss.GEN in active:
            rebuilt = {name: execution.full(x) for name, x in reconstructions.items()}
            workers = rank_and_size()[1]
            rows = None if everywhere is None else {name: mask.sum() / workers for name, mask in everywhere.items()}
            values[Loss.GEN] = reconstruction_loss(rebuilt, features[-1], present, rows)
        return values

    def _cluster(self, mean: Tensor, number: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return centroids (K, K) and the labels (B,) of the batch's mean cluster logits (B, K)."""
        h = self._h
        points = self._queue.extend(mean, number)
        result = kmeans(points, h.num_clusters, seed, initial=self._centroids, iterations=h.kmeans_iterations)
        centroids, labels = map(broadcast, result)  # so that workers that round differently do not drift apart
        if h.kmeans_warm_start:
            if self._centroids is None:
                self._centroids = centroids.clone()
            else:
                self._centroids.copy_(centroids)
        return centroids, labels[-len(mean) :]

    def state(self) -> dict[str, Tensor]:
        """Return everything that the rest of the run depends on, between two epochs, as named tensors.

        The tensors are not copied, so the next epoch changes them.
        """
        tensors = {f"modules.{name}": value for name, value in self._modules.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in self._optimizer.state().items()}
        if self._centroids is not None:
            tensors["centroids"] = self._centroids
        tensors["best_total"] = torch.tensor(self._best_total, dtype=torch.float64)
        tensors["epochs_since_best"] = torch.tensor(self._epochs_since_best)
        return {**tensors, "epoch": torch.tensor(self.epoch)}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what :meth:`state` returned in a run with the same arguments."""
        self.epoch = int(tensors["epoch"])
        self._best_total = float(tensors["best_total"])
        self._epochs_since_best = int(tensors["epochs_since_best"])
        self._centroids = tensors["centroids"].to(self._data.device, copy=True) if "centroids" in tensors else None
        self._modules.load_state_dict(_part(tensors, "modules."))
        self._optimizer.load_state(_part(tensors, "optimizer."))
        self.execution.forget()


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


@torch.no_grad()
def represent(head: RepresentationHeads, data: StandardisedSplit, rows: Tensor, fusion: str = "concat") -> Tensor:
    """Return a head's representations of ``rows`` (n,), without dropout: (n, F), see :func:`conclugen.heads.fuse`."""
    head.eval()
    return torch.cat([fuse(head(data.batch(chunk)), fusion) for chunk in rows.split(CHUNK_ROWS)])
