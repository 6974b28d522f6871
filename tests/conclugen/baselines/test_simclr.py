import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from conclugen.baselines.simclr import SimCLR
from conclugen.features.batches import StandardisedSplit
from conclugen.features.manifest import Modality
from conclugen.features.shards import FeatureSet, FeatureWriter
from conclugen.hyperparameters import Hyperparameters
from conclugen.losses import nt_xent_loss

_H = Hyperparameters(
    representation_dim=16,
    projection_dim=8,
    temperature=0.3,
    feature_dropout=0.2,
    batch_size=10,
    lr=1e-2,
    warmup_epochs=1,
)


def _views(b: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(b, 3, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))


@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_the_loss_equals_the_papers_formula(temperature: float) -> None:
    """Chen et al. 2020, eq. 1, sample by sample: views 2k - 1 and 2k are each other's positives."""
    first, second = _views()
    rows = [row.tolist() for pair in zip(first, second, strict=True) for row in pair]

    def similarity(i: int, j: int) -> float:
        dot = sum(u * v for u, v in zip(rows[i], rows[j], strict=True))
        return math.exp(dot / math.hypot(*rows[i]) / math.hypot(*rows[j]) / temperature)

    def term(i: int, j: int) -> float:
        return -math.log(similarity(i, j) / sum(similarity(i, k) for k in range(len(rows)) if k != i))

    expected = sum(term(i, i + 1) + term(i + 1, i) for i in range(0, len(rows), 2)) / len(rows)
    assert nt_xent_loss(first, second, temperature).item() == pytest.approx(expected, rel=1e-12)


def test_the_loss_is_differentiable_in_both_views() -> None:
    assert torch.autograd.gradcheck(lambda a, b: nt_xent_loss(a, b, 0.5), _views())


def _features(folder: Path, versions: int, samples: int = 40) -> StandardisedSplit:
    """Features whose first two columns are the number of the sample and of its version."""
    rng = np.random.default_rng(0)
    with FeatureWriter(folder, [Modality(name="video", width=6, source="planted")]) as writer:
        for version in range(versions):
            x = np.concatenate(
                [np.arange(samples)[:, None], np.full((samples, 1), version), rng.normal(size=(samples, 4))], 1
            )
            ids = [str(sample) for sample in range(samples)]
            writer.write("train", ids, {"video": x}, augmentation=np.full(samples, version))
    features = FeatureSet(folder)
    return StandardisedSplit(features.split("train"), features.standardisation, ["video"], torch.device("cpu"))


def _run(data: StandardisedSplit, seed: int = 0, hyperparameters: Hyperparameters = _H) -> SimCLR:
    return SimCLR(data, {"video": 6}, hyperparameters, epochs=8, seed=seed)


def _views_of_epochs(run: SimCLR, epochs: int) -> list[tuple[Tensor, Tensor]]:
    """Train, and return the two views of each step, which the head sees one after the other."""
    views: list[Tensor] = []
    run.head.register_forward_pre_hook(lambda _, inputs: views.append(inputs[0]["video"]))
    for _ in range(epochs):
        run.run_epoch()
    return list(zip(views[::2], views[1::2], strict=True))


def test_views_are_two_different_versions_of_the_same_clips(tmp_path: Path) -> None:
    data = _features(tmp_path, versions=3)
    run = _run(data, hyperparameters=replace(_H, feature_dropout=0.0, view_noise=0.0))
    assert run.samples == 40
    mean, scale = data.standardisation.mean["video"], data.standardisation.scale["video"]
    version_pairs = set()
    for views in _views_of_epochs(run, 8):
        first, second = ((view / scale + mean).round().int() for view in views)
        assert torch.equal(first[:, 0], second[:, 0])
        assert len(first[:, 0].unique()) == 10
        version_pairs |= set(zip(first[:, 1].tolist(), second[:, 1].tolist(), strict=True))
    assert version_pairs == {(i, j) for i in range(3) for j in range(3) if i != j}


@pytest.mark.parametrize(("dropout", "noise"), [(0.2, 0.0), (0.0, 0.1), (0.0, 0.0)])
def test_without_versions_noise_and_dropout_make_the_views(tmp_path: Path, dropout: float, noise: float) -> None:
    h = replace(_H, feature_dropout=dropout, view_noise=noise)
    views = _views_of_epochs(_run(_features(tmp_path, versions=1), hyperparameters=h), 1)
    differences = [first - second for first, second in views]
    assert all(difference.any() == (dropout + noise > 0) for difference in differences)
    if dropout + noise > 0:
        assert not torch.equal(differences[0], differences[1])  # each step draws anew


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    run = _run(_features(tmp_path, versions=1))
    totals = [run.run_epoch()["total"] for _ in range(8)]
    assert totals[-1] < totals[0] - 0.1


def test_only_one_modality_is_trained(tmp_path: Path) -> None:
    assert list(_run(_features(tmp_path, versions=1)).head.heads) == ["video"]


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    data = _features(tmp_path, versions=2)
    whole, again, other = _run(data), _run(data), _run(data, seed=1)
    for run in (whole, again, other):
        run.run_epoch()
    rest = _run(data)
    rest.load_state(again.state())
    for run in (whole, rest):
        run.run_epoch()
    states = [run.state() for run in (whole, rest, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(
        states[0]["modules.head.heads.video.input.weight"], states[2]["modules.head.heads.video.input.weight"]
    )
