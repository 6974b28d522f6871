import math
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
def test_loss_equals_the_papers_formula(temperature: float) -> None:
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


def test_loss_is_differentiable_in_both_views() -> None:
    assert torch.autograd.gradcheck(lambda a, b: nt_xent_loss(a, b, 0.5), _views())


def _features(folder: Path, versions: int, samples: int = 40) -> StandardisedSplit:
    """Row v of sample s is the point (s, v), so that a batch shows which it holds."""
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


def test_views_are_two_different_versions_of_the_same_clips(tmp_path: Path) -> None:
    data = _features(tmp_path, versions=3)
    run = _run(data)
    assert run.samples == 40
    rows = torch.arange(10, 20)
    seen = set()
    for seed in range(30):
        views = run._batch(rows, seed)
        first, second = (view / data._map.scale["video"] + data._map.mean["video"] for view in views.values())
        assert first[:, 0].round().tolist() == second[:, 0].round().tolist() == rows.tolist()
        pairs = list(zip(first[:, 1].round().int().tolist(), second[:, 1].round().int().tolist(), strict=True))
        assert all(one != other for one, other in pairs)
        seen |= set(pairs)
    assert seen == {(i, j) for i in range(3) for j in range(3) if i != j}


def test_without_versions_noise_and_dropout_make_the_views(tmp_path: Path) -> None:
    """The same clip twice; were nothing random added, both projections would be the same and so would any two seeds."""
    run = _run(_features(tmp_path, versions=1))
    views = run._batch(torch.arange(10), 0)
    assert torch.equal(views["first"], views["second"])
    losses = {round(run._values(run._inputs(views, seed), 0, seed)[run._losses[0]].item(), 6) for seed in range(4)}
    assert len(losses) == 4


def test_loss_falls(tmp_path: Path) -> None:
    run = _run(_features(tmp_path, versions=1))
    totals = [run.run_epoch()["total"] for _ in range(8)]
    assert totals[-1] < totals[0] - 0.1


def test_only_one_modality_is_trained(tmp_path: Path) -> None:
    assert list(_run(_features(tmp_path, versions=1)).head.heads) == ["video"]


def test_seeds_and_continuation(tmp_path: Path) -> None:
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
