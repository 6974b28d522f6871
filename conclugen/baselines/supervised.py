"""The supervised baseline: representation heads and a linear classifier trained end to end on the labels alone.

Architecture, inputs and initial heads of a seed are those of pretraining and of the random head. Loss and dropout are
those of the paper's probe. A pretrained head differs in one point: it has seen unlabelled samples. A run is short and
cheap, so it has no checkpoint.

Legend: s labelled samples, V versions of a sample, n rows, C classes, R representation, b batch.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from conclugen.evaluation.classification import Answers, ClassWeights, class_weights_of, label_loss
from conclugen.heads import fuse
from conclugen.hyperparameters import Hyperparameters
from conclugen.seeds import derive_seed
from conclugen.training.execution import Execution
from conclugen.training.pretrain import CHUNK_ROWS, DivergedError, build_head
from conclugen.training.schedule import learning_rate_factor

__all__ = ["FeatureRows", "LabelledRows", "SupervisedTraining"]


class FeatureRows(Protocol):
    """Source of features, such as :class:`conclugen.features.batches.StandardisedSplit`."""

    @property
    def device(self) -> torch.device:
        """The device of the batches."""

    def batch(self, rows: Tensor) -> dict[str, Tensor]:
        """Return modality -> (b, d_m) for ``rows`` (b,), an index tensor on the CPU."""


@dataclass(frozen=True)
class LabelledRows:
    """Samples with their labels.

    Attributes:
        data: source of the features.
        rows: (s,) row of each sample, or (s, V) rows of its versions, on the CPU. Every training epoch uses one random
            version. Validation samples have one row.
        labels: (s,) classes, or (s, C) of 0 and 1 for multi-label sets.
    """

    data: FeatureRows
    rows: Tensor
    labels: Tensor


class SupervisedTraining:
    """One supervised run on the labelled samples of one draw.

    The loss is cross-entropy (multi-label: binary cross-entropy), as in the probe. AdamW, warm-up, cosine decay to 0
    over the run and input feature dropout are those of pretraining, with the same hyperparameters. The hyperparameters
    of the pretraining losses are ignored. The classifier starts at zero, as the paper's probe does. The epoch with the
    lowest loss on the validation samples is kept. Every random choice follows from the seed.

    Args:
        train: the samples of the draw.
        validation: samples that choose the epoch, the same that choose a probe's strength.
        widths: modality -> d_m, in modality order.
        classes: the C class names.
        hyperparameters: see above.
        epochs: length of the run.
        seed: identity of the run; the heads start as the random heads of this seed.
        dropout: rate on the representation before the classifier.
        class_weights: see :func:`conclugen.evaluation.classification.class_weights_of`.
        fusion: see :func:`conclugen.heads.fuse`.

    Attributes:
        epoch: number of finished epochs.
        modules: ``head`` and ``classifier`` in training.
        best: copies of the modules after the epoch with the lowest validation loss.

    Raises:
        ValueError: labels (s, C) have another number of classes than ``classes``.
    """

    def __init__(
        self,
        train: LabelledRows,
        validation: LabelledRows,
        widths: Mapping[str, int],
        classes: Sequence[str],
        hyperparameters: Hyperparameters,
        *,
        epochs: int,
        seed: int,
        dropout: float = 0.5,
        class_weights: ClassWeights = "none",
        fusion: str = "concat",
    ) -> None:
        self._multi_label = train.labels.dim() == 2
        if self._multi_label and train.labels.shape[1] != len(classes):
            raise ValueError(f"expected labels (s, {len(classes)}), got {tuple(train.labels.shape)}.")
        device = train.data.device
        self.epoch = 0
        self._train = train
        self._validation = validation
        self._h = hyperparameters
        self._epochs = epochs
        self._seed = seed
        self._dropout = dropout
        self._fusion = fusion
        self._labels = train.labels.to(device)
        self._class_weights = class_weights_of(self._labels[None], len(classes), class_weights)  # [1, C]
        r = hyperparameters.representation_dim
        classifier = nn.utils.skip_init(nn.Linear, r * len(widths) if fusion == "concat" else r, len(classes))
        nn.init.zeros_(classifier.weight)
        nn.init.zeros_(classifier.bias)
        self.modules = nn.ModuleDict({"head": build_head(widths, hyperparameters, seed), "classifier": classifier})
        self.modules.to(device)
        self._execution = Execution.on(device, recorded=False)
        self._optimizer = self._execution.optimizer(
            self.modules.parameters(), lr=hyperparameters.lr, weight_decay=hyperparameters.weight_decay
        )
        self.best = copy.deepcopy(self.modules)
        self._best_loss = math.inf
        self._best_epoch = 0

    def run(self) -> None:
        """Train to the last epoch.

        Raises:
            DivergedError: the training loss became NaN or infinite.
        """
        while self.epoch < self._epochs:
            self.run_epoch()

    def run_epoch(self) -> dict[str, float]:
        """Train for one epoch, and return its mean loss ``train`` and the ``validation`` loss after it.

        Raises:
            DivergedError: the training loss became NaN or infinite.
        """
        factor = learning_rate_factor(
            self.epoch, warmup=self._h.warmup_epochs, period=max(1, self._epochs - self._h.warmup_epochs)
        )
        self._optimizer.lr = self._h.lr * factor
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "supervised epoch", self.epoch))
        order = torch.randperm(len(self._labels), generator=generator)
        rows = self._choose_versions(generator)
        self.modules.train()
        total = torch.zeros((), device=self._labels.device)
        for step, samples in enumerate(order.split(self._h.batch_size)):
            seed = derive_seed(self._seed, "supervised step", self.epoch, step)
            logits = self._training_logits(self._train.data.batch(rows[samples]), seed)
            loss = label_loss(logits.T[None], self._labels[samples][None], self._class_weights)[0]
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            total += loss.detach() * len(samples)
        if not math.isfinite(train := float(total) / len(order)):
            raise DivergedError(f"supervised loss is not finite in epoch {self.epoch}: {train}")
        self.epoch += 1
        validation = self._validation_loss()
        if validation < self._best_loss:
            self.best = copy.deepcopy(self.modules)
            self._best_loss = validation
            self._best_epoch = self.epoch
        return {"train": train, "validation": validation}

    def answer(self, data: FeatureRows, rows: Tensor) -> Answers:
        """Return the answers of the best epoch for ``rows`` (n,), as those of one draw: (1, n) and (1, n, C)."""
        return Answers.of(self._logits(self.best, data, rows).T[None], multi_label=self._multi_label)

    @property
    def chosen(self) -> str:
        """The epoch that was kept, in words."""
        return f"epoch {self._best_epoch}"

    def _choose_versions(self, generator: torch.Generator) -> Tensor:
        """Return the row of each sample for one epoch, (s,)."""
        rows = self._train.rows
        if rows.dim() == 1:
            return rows
        return rows.gather(1, torch.randint(rows.shape[1], (len(rows), 1), generator=generator))[:, 0]

    def _training_logits(self, features: dict[str, Tensor], seed: int) -> Tensor:
        device = self._labels.device
        generator = torch.Generator(device).manual_seed(seed)
        dropped = {name: _drop(x, self._h.feature_dropout, generator) for name, x in features.items()}
        with self._execution.heads():
            representation = fuse(self.modules["head"](dropped), self._fusion)
            logits = self.modules["classifier"](_drop(representation, self._dropout, generator))
        return self._execution.full(logits)  # [b, C]

    @torch.no_grad()
    def _logits(self, modules: nn.ModuleDict, data: FeatureRows, rows: Tensor) -> Tensor:
        """Map rows (n,) to logits (n, C), without dropout."""
        modules.eval()
        parts = [
            modules["classifier"](fuse(modules["head"](data.batch(chunk)), self._fusion))
            for chunk in rows.split(CHUNK_ROWS)
        ]
        return torch.cat(parts)

    def _validation_loss(self) -> float:
        logits = self._logits(self.modules, self._validation.data, self._validation.rows)
        labels = self._validation.labels.to(logits.device)
        return float(label_loss(logits.T[None], labels[None], self._class_weights))


def _drop(x: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    if rate == 0:
        return x
    return x * (torch.rand(x.shape, generator=generator, device=x.device) >= rate) / (1 - rate)
