"""The downstream probe: a linear classifier on frozen representations (METHOD section 4).

Small label budgets are probed on several random draws of labelled samples. All draws are trained at once, as one
batched problem with a weight matrix per draw: a probe of 50 samples is bound by the overhead of each operation, not by
arithmetic, so five cost little more than one.

Legend: n samples, F width of the representation, C classes, D label draws, s labelled samples per draw.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from conclugen.schedule import learning_rate_factor
from conclugen.seeds import derive_seed

__all__ = ["ProbeSettings", "draw_labels", "fit_probes"]

_WARMUP, _RESTART_PERIOD, _RESTART_GROWTH, _LR_FLOOR = 5, 20, 2, 1e-6


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """How a probe is trained.

    Defaults are the released code's, but for the class weights (its frequency weights favour the majority) and the
    patience (its 15 epochs are shorter than a restart's setback and stop raw features too early: LOG.md).
    """

    epochs: int = 140
    lr: float = 9.67e-3
    weight_decay: float = 4e-3
    dropout: float = 0.5
    batch_size: int = 4096
    patience: int = 40
    class_weights: Literal["none", "balanced"] = "none"


def draw_labels(labels: Tensor, per_class: int | None, draws: int, seed: int) -> Tensor:
    """Choose the labelled samples of each draw.

    Args:
        labels: (n,) class of every training sample.
        per_class: labelled samples per class; None for all, which is one draw whatever ``draws`` says.
        draws: D.
        seed: identity of the draws.

    Returns:
        (D, s) indices into ``labels``. A class with fewer than ``per_class`` samples gives all it has.
    """
    if per_class is None:
        return torch.arange(len(labels))[None]
    chosen = []
    for draw in range(draws):
        generator = torch.Generator().manual_seed(derive_seed(seed, "labels", per_class, draw))
        order = torch.randperm(len(labels), generator=generator)
        chosen.append(torch.cat([order[labels[order] == c][:per_class] for c in labels.unique()]))
    return torch.stack(chosen)


class Probes:
    """D trained linear classifiers: weight (D, C, F), bias (D, C, 1)."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight, self._bias = weight, bias

    def predict(self, x: Tensor) -> Tensor:
        """Return the predicted classes (D, n) of representations (n, F)."""
        return _logits(x, self._weight, self._bias).argmax(dim=1)


def fit_probes(
    x: Tensor,
    labels: Tensor,
    draws: Tensor,
    validation: tuple[Tensor, Tensor],
    classes: Sequence[str],
    settings: ProbeSettings,
    seed: int,
) -> Probes:
    """Train one linear classifier per label draw, each stopped where its validation loss is lowest.

    Weights start at zero rather than at random: with fewer samples than features, training never touches the random
    start's component outside the samples' span, which stays as noise (measured in LOG.md).

    Dropout on the representation, cross-entropy, AdamW with warm-up and cosine restarts; a draw whose validation loss
    has not improved for ``patience`` epochs is done.

    Args:
        x: (n, F) training representations.
        labels: (n,) their classes.
        draws: (D, s) the samples that each draw may use.
        validation: (n_val, F) representations and (n_val,) classes.
        classes: the C class names.
        settings: see there.
        seed: identity of the fit (order, dropout).
    """
    generator = torch.Generator(x.device).manual_seed(derive_seed(seed, "probe"))
    d, width, c = len(draws), x.shape[1], len(classes)
    weight = torch.zeros(d, c, width, device=x.device, requires_grad=True)
    bias = torch.zeros(d, c, 1, device=x.device, requires_grad=True)
    optimizer = torch.optim.AdamW([weight, bias], lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
    draws, targets = draws.to(x.device), labels[draws].to(x.device)  # [D, s]
    class_weights = _class_weights(targets, c, settings)  # [D, C]
    validation_x, validation_y = validation[0], validation[1].to(x.device).expand(d, -1)
    batches = _Batches(x, draws, targets, settings, generator)

    best_loss = torch.full((d,), torch.inf, device=x.device)
    best_weight, best_bias = weight.detach().clone(), bias.detach().clone()
    waited = torch.zeros(d, device=x.device)
    for epoch in range(settings.epochs):
        factor = learning_rate_factor(
            epoch, warmup=_WARMUP, period=_RESTART_PERIOD, growth=_RESTART_GROWTH, floor=_LR_FLOOR / settings.lr
        )
        optimizer.param_groups[0]["lr"] = settings.lr * factor
        for inputs, truth in batches.epoch():
            losses = _cross_entropy(weight @ inputs.mT + bias, truth, class_weights)
            optimizer.zero_grad(set_to_none=True)
            losses.sum().backward()  # draws are independent: a sum trains each alone
            optimizer.step()
        with torch.no_grad():
            loss = _cross_entropy(_logits(validation_x, weight, bias), validation_y, class_weights)  # [D]
            better = (loss < best_loss) & (waited < settings.patience)
            best_loss = torch.where(better, loss, best_loss)
            best_weight = torch.where(better[:, None, None], weight, best_weight)
            best_bias = torch.where(better[:, None, None], bias, best_bias)
            waited = torch.where(better, torch.zeros_like(waited), waited + 1)
        if bool((waited >= settings.patience).all()):
            break
    return Probes(best_weight, best_bias)


class _Batches:
    """Training batches of all draws with dropout applied: inputs (D, b, F) and targets (D, b).

    Memory traffic is what a probe costs on a CPU: a batch that holds every sample is gathered once, its dropped copy
    and mask are written into the same buffers each epoch, and a mask element takes one random byte.
    """

    def __init__(
        self, x: Tensor, draws: Tensor, targets: Tensor, settings: ProbeSettings, generator: torch.Generator
    ) -> None:
        self._x, self._draws, self._targets = x, draws, targets
        self._batch_size, self._generator = settings.batch_size, generator
        self._threshold = round(settings.dropout * 256)  # of 256: the dropout rate in steps of a byte
        self._scale = 256 / (256 - self._threshold)
        samples = min(draws.shape[1], settings.batch_size)
        self._dropped = x.new_empty(len(draws), samples, x.shape[1])
        self._bits = torch.empty(-(-self._dropped.numel() // 8), dtype=torch.int64, device=x.device)
        self._keep = torch.empty_like(self._dropped, dtype=torch.bool)
        self._whole = x[draws] * self._scale if draws.shape[1] == samples else None

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self._whole is not None:
            yield self._drop(self._whole), self._targets
            return
        order = torch.randperm(self._draws.shape[1], generator=self._generator, device=self._x.device)
        for part in order.split(self._batch_size):
            yield self._drop(self._x[self._draws[:, part]] * self._scale), self._targets[:, part]

    def _drop(self, inputs: Tensor) -> Tensor:
        self._bits.random_(-(2**63), None, generator=self._generator)
        keep, dropped = self._keep[:, : inputs.shape[1]], self._dropped[:, : inputs.shape[1]]
        random_bytes = self._bits.view(torch.uint8)[: inputs.numel()].view_as(inputs)
        torch.ge(random_bytes, self._threshold, out=keep)
        return torch.mul(inputs, keep, out=dropped)


def _logits(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(n, F), (D, C, F), (D, C, 1) -> (D, C, n), without the D copies of x that broadcasting would make."""
    d, c, width = weight.shape
    return (weight.reshape(d * c, width) @ x.T).view(d, c, -1) + bias


def _class_weights(targets: Tensor, classes: int, settings: ProbeSettings) -> Tensor:
    """(D, s) -> (D, C): ones, or the inverse class frequency of each draw with mean 1 over its samples."""
    if settings.class_weights == "none":
        return torch.ones(len(targets), classes, device=targets.device)
    counts = functional.one_hot(targets, classes).sum(dim=1).clamp(min=1)  # [D, C]
    return targets.shape[1] / (counts * (counts > 0).sum(dim=1, keepdim=True))


def _cross_entropy(logits: Tensor, targets: Tensor, class_weights: Tensor) -> Tensor:
    """(D, C, b), (D, b), (D, C) -> (D,): weighted mean over the b samples of each draw."""
    weights = class_weights.gather(1, targets)  # [D, b]
    losses = functional.cross_entropy(logits, targets, reduction="none")  # [D, b]
    return (losses * weights).sum(dim=1) / weights.sum(dim=1)
