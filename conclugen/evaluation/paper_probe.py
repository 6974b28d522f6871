"""The paper's probe: a small classifier, trained by AdamW for a fixed number of epochs (docs/method.md, section 4).

It serves to compare with published numbers. On sets of less than 4,096 samples its 140 epochs are 140 steps, of which 5
are warm-up, and it does not converge. Its score then says as much about the optimiser as about the representation.

Small label budgets are probed on several random draws of labelled samples. All draws are trained at once, as a batched
problem with a weight matrix per draw. For 50 samples, the overhead of operations dominates the arithmetic, so five
probes cost little more than one. Only multi-label draws differ in size. Short draws are padded with -1, and padding
does not count. Fitting one draw after the other was rejected for its cost.

Legend: n samples, F width of the representation, H hidden width, C classes, D label draws, s labelled samples per draw,
b samples of a batch, V versions of a sample, v validation samples.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from conclugen.evaluation.classification import Answers, class_weights_of, label_loss
from conclugen.evaluation.draws import LabelledDraws
from conclugen.seeds import derive_seed
from conclugen.training.adamw import AdamW
from conclugen.training.schedule import learning_rate_factor

__all__ = ["Batches", "DropoutMasks", "Layer", "PaperProbes", "PaperSettings", "fit_paper_probes"]

_WARMUP, _RESTART_PERIOD, _RESTART_GROWTH, _LR_FLOOR = 5, 20, 2, 1e-6
_CHUNK = 8192  # samples per forward pass outside training, if there are hidden layers
_MOST_LAYERS = 3
Layer = tuple[Tensor, Tensor]
"""Weight (D, out, in) and bias (D, out, 1)."""


@dataclass(frozen=True, kw_only=True)
class PaperSettings:
    """Settings of the training of the paper's probe.

    Defaults are the released code's, except for the patience. The released 15 epochs are shorter than a restart's
    setback and stop raw features too early (docs/decisions/instrument.md). The released class weights by frequency
    favour the majority, so they are not offered.

    Attributes:
        epochs: most epochs of training.
        lr: learning rate after warm-up.
        weight_decay: weight decay of AdamW.
        dropout: rate before each layer; on the representation in steps of 1/256.
        batch_size: samples per step.
        patience: epochs without a better validation loss after which a draw stops.
        layers: 1 is a linear probe; 2 and 3 have hidden layers with ReLU before the linear layer.
        hidden_dim: H.

    Raises:
        ValueError: ``layers`` is not 1, 2 or 3, or ``hidden_dim`` is not positive.
    """

    epochs: int = 140
    lr: float = 9.67e-3
    weight_decay: float = 4e-3
    dropout: float = 0.5
    batch_size: int = 4096
    patience: int = 40
    layers: int = 1
    hidden_dim: int = 256

    def __post_init__(self) -> None:
        if not 1 <= self.layers <= _MOST_LAYERS:
            raise ValueError(f"a probe has 1 to {_MOST_LAYERS} layers, got {self.layers}.")
        if self.hidden_dim < 1:
            raise ValueError(f"hidden_dim must be positive, got {self.hidden_dim}.")


class PaperProbes:
    """D trained classifiers.

    Args:
        layers: weight (D, out, in) and bias (D, out, 1) of each layer; a ReLU stands between two.
        epochs: (D,) the kept epoch of each classifier.
        multi_label: whether samples may have several labels.
    """

    def __init__(self, layers: Sequence[Layer], epochs: Sequence[int], *, multi_label: bool) -> None:
        self.layers = tuple(layers)
        self._multi_label = multi_label
        self.chosen = [f"epoch {epoch}" for epoch in epochs]

    def answer(self, x: Tensor) -> Answers:
        """Return the answers for representations (n, F)."""
        return Answers.of(_outputs(x, self.layers), multi_label=self._multi_label)


def fit_paper_probes(data: LabelledDraws, settings: PaperSettings, seed: int) -> PaperProbes:
    """Train one classifier per label draw, and keep the epoch with its lowest validation loss.

    The last layer starts at zero and not at random. With fewer samples than features, training never changes the
    component of the start outside the samples' span, and a random one stays as noise
    (docs/decisions/instrument.md). Hidden layers start at random, equally in every draw.

    The loss is cross-entropy (multi-label: binary cross-entropy, mean over classes), with dropout before each layer.
    AdamW trains with warm-up and cosine restarts. A draw stops when its validation loss has not improved for
    ``patience`` epochs. Every epoch uses one random version of each sample.

    Args:
        data: the draws.
        settings: see :class:`PaperSettings`.
        seed: identity of the fit (order, dropout, versions, hidden layers).
    """
    x, classes, d = data.x, len(data.classes), len(data.draws)
    generator = torch.Generator(x.device).manual_seed(derive_seed(seed, "probe"))
    layers = _initial_layers(d, x.shape[1], classes, settings, seed, x.device)
    parameters = [parameter for layer in layers for parameter in layer]
    optimizer = AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
    batches = Batches(data, settings, generator)
    class_weights = class_weights_of(batches.targets, classes, data.class_weights, batches.counted)  # [D, C]
    truth = data.validation_labels.to(x.device)
    validation_y = truth.expand(d, *truth.shape)
    selected = _selected(data)

    best_loss = torch.full((d,), torch.inf, device=x.device)
    best_epoch = torch.zeros(d, dtype=torch.long, device=x.device)
    best = [(weight.detach().clone(), bias.detach().clone()) for weight, bias in layers]
    epochs_since_best = torch.zeros(d, device=x.device)
    for epoch in range(settings.epochs):
        factor = learning_rate_factor(
            epoch, warmup=_WARMUP, period=_RESTART_PERIOD, growth=_RESTART_GROWTH, floor=_LR_FLOOR / settings.lr
        )
        optimizer.lr = settings.lr * factor
        for inputs, targets, counted in batches.epoch():
            logits = _training_outputs(inputs, layers, settings.dropout, generator)
            losses = label_loss(logits, targets, class_weights, counted)
            optimizer.zero_grad()
            losses.sum().backward()  # draws are independent, so the sum trains each of them
            optimizer.step()
        with torch.no_grad():
            loss = label_loss(_outputs(data.validation_x, layers), validation_y, class_weights, selected)  # [D]
            better = (loss < best_loss) & (epochs_since_best < settings.patience)
            best_loss = torch.where(better, loss, best_loss)
            best_epoch = torch.where(better, epoch + 1, best_epoch)
            keep = better[:, None, None]
            best = [
                (torch.where(keep, weight, best_weight), torch.where(keep, bias, best_bias))
                for (weight, bias), (best_weight, best_bias) in zip(layers, best, strict=True)
            ]
            epochs_since_best = torch.where(better, torch.zeros_like(epochs_since_best), epochs_since_best + 1)
        if bool((epochs_since_best >= settings.patience).all()):
            break
    return PaperProbes(best, best_epoch.tolist(), multi_label=data.multi_label)


def _selected(data: LabelledDraws) -> Tensor | None:
    """Return (D, v), 1 for the validation samples that may stop a draw, else 0; None if all samples may."""
    if data.selection is None:
        return None
    selected = torch.zeros(len(data.draws), len(data.validation_labels))
    for draw, samples in enumerate(data.selection):
        selected[draw, samples[samples >= 0]] = 1
    return selected.to(data.x.device)


def _initial_layers(
    draws: int, width: int, classes: int, settings: PaperSettings, seed: int, device: torch.device
) -> list[Layer]:
    """Return hidden layers like new ones of torch, equal in all draws and on all devices, and a last layer of zeros."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "probe", "hidden layers"))
    layers = []
    for _ in range(settings.layers - 1):
        bound = width**-0.5
        start = torch.empty(settings.hidden_dim, width + 1).uniform_(-bound, bound, generator=generator)
        copies = start.to(device).expand(draws, -1, -1)
        layers.append((copies[..., :-1].contiguous(), copies[..., -1:].contiguous()))
        width = settings.hidden_dim
    layers.append((torch.zeros(draws, classes, width, device=device), torch.zeros(draws, classes, 1, device=device)))
    return [(weight.requires_grad_(), bias.requires_grad_()) for weight, bias in layers]


class Batches:
    """Training batches of all draws with dropout: inputs (D, b, F), targets (D, b) or (D, b, C), counted (D, b).

    ``counted`` is 0 at the padding of short draws and 1 elsewhere, or None if no draw is short.

    Memory traffic dominates the cost of a probe on a CPU. So a batch that holds every sample is gathered once, and each
    epoch writes its copy with dropout into the same buffer.
    """

    def __init__(self, data: LabelledDraws, settings: PaperSettings, generator: torch.Generator) -> None:
        x = data.x
        self._x = x
        self._batch_size = settings.batch_size
        self._generator = generator
        self.counted = None if data.present.all() else data.present.to(x.device, x.dtype)
        self.targets = data.labels[data.samples].to(x.device)
        self._rows = data.rows.to(x.device)  # [D, s, V]
        draws, samples = data.draws.shape
        size = min(samples, settings.batch_size)
        self._buffer = x.new_empty(draws, size, x.shape[1])
        self._masks = DropoutMasks(self._buffer.numel(), settings.dropout, generator)
        same_each_epoch = samples == size and self._rows.shape[2] == 1
        self._whole = x[self._rows[..., 0]] * self._masks.scale if same_each_epoch else None

    def epoch(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield the batches of one epoch; inputs are overwritten by the next batch."""
        if self._whole is not None:
            yield self._drop(self._whole), self.targets, self.counted
            return
        rows = self._choose_versions()
        order = torch.randperm(rows.shape[1], generator=self._generator, device=self._x.device)
        for part in order.split(self._batch_size):
            inputs = self._drop(self._x[rows[:, part]] * self._masks.scale)
            yield inputs, self.targets[:, part], None if self.counted is None else self.counted[:, part]

    def _choose_versions(self) -> Tensor:
        """Return the row of each sample of each draw for one epoch, (D, s)."""
        versions = self._rows.shape[2]
        if versions == 1:
            return self._rows[..., 0]
        shape = (*self._rows.shape[:2], 1)
        choices = torch.randint(versions, shape, generator=self._generator, device=self._rows.device)
        return self._rows.gather(2, choices)[..., 0]

    def _drop(self, inputs: Tensor) -> Tensor:
        keep = self._masks.next(inputs.numel()).view_as(inputs)
        return torch.mul(inputs, keep, out=self._buffer[:, : inputs.shape[1]])


class DropoutMasks:
    """Sequence of dropout masks.

    Random numbers are expensive on a CPU, so a mask uses only as many bits of a random byte as its rate needs. At a
    rate of a half, each byte serves eight masks.

    Args:
        size: elements of the largest mask.
        rate: share of dropped elements, in steps of 1/256.
        generator: generator of random numbers on the masks' device.

    Attributes:
        scale: factor of the kept elements that preserves the expected input.
    """

    def __init__(self, size: int, rate: float, generator: torch.Generator) -> None:
        dropped = round(rate * 256)
        self.scale = 256 / (256 - dropped)
        bits = max(1, 9 - math.gcd(dropped, 256).bit_length())  # per element
        mask = 2**bits - 1
        least = dropped >> (8 - bits)
        self._fields = [(mask << at, least << at) for at in range(0, 9 - bits, bits)]  # of a byte
        self._unused_fields: list[tuple[int, int]] = []
        self._generator = generator
        self._words = torch.empty(-(-size // 8), dtype=torch.int64, device=generator.device)
        self._keep = torch.empty(size, dtype=torch.uint8, device=generator.device)

    def next(self, n: int) -> Tensor:
        """Return a mask (n,) of bytes, 0 for dropped elements and 1 for others; the next mask overwrites it."""
        if not self._unused_fields:
            self._words.random_(-(2**63), None, generator=self._generator)
            self._unused_fields = list(self._fields)
        mask, least = self._unused_fields.pop()
        # In place and without bool, the comparison is 30 times faster, and the product with its result 3 times.
        return torch.bitwise_and(self._words.view(torch.uint8)[:n], mask, out=self._keep[:n]).ge_(least)


def _training_outputs(inputs: Tensor, layers: Sequence[Layer], dropout: float, generator: torch.Generator) -> Tensor:
    """Map inputs (D, b, F), which have had dropout, to logits (D, C, b); each further layer has dropout before it."""
    (weight, bias), *rest = layers
    outputs = weight @ inputs.mT + bias
    for weight, bias in rest:
        keep = torch.rand(outputs.shape, generator=generator, device=outputs.device) >= dropout
        outputs = weight @ (outputs.relu() * keep / (1 - dropout)) + bias
    return outputs


@torch.no_grad()
def _outputs(x: Tensor, layers: Sequence[Layer]) -> Tensor:
    """Map (n, F) to logits (D, C, n), without the D copies of x that broadcasting would make."""
    (weight, bias), *rest = layers
    d, width, features = weight.shape
    flat = weight.reshape(d * width, features)
    parts = []
    for part in x.split(_CHUNK if rest else max(1, len(x))):
        outputs = (flat @ part.T).view(d, width, -1) + bias
        for next_weight, next_bias in rest:
            outputs = next_weight @ outputs.relu() + next_bias
        parts.append(outputs)
    return torch.cat(parts, dim=2) if len(parts) > 1 else parts[0]
