"""Pretraining against a plain training loop, and tests of resumption, seeds, batches, schedule and clustering.

Legend: b batch, K clusters.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor, nn

from conclugen.clustering import kmeans
from conclugen.features.batches import StandardisedSplit
from conclugen.heads import PretrainingHeads, RepresentationHeads
from conclugen.hyperparameters import Hyperparameters
from conclugen.losses import clustering_loss, contrastive_loss, reconstruction_loss
from conclugen.subsets import SUBSETS, Loss
from conclugen.training import pretrain
from conclugen.training.adamw import AdamW
from conclugen.training.pretrain import DivergedError, Pretraining, build_head, represent

_WIDTHS = {"video": 7, "audio": 5, "text": 4}
_H = Hyperparameters(
    representation_dim=16,
    projection_dim=8,
    temperature=0.3,
    num_clusters=3,
    kmeans_queue_size=1,
    reconstruction_dim=8,
    reconstruction_relu=False,
    batch_size=15,
    lr=1e-2,
    warmup_epochs=2,
)
_EVERY_OPTION = replace(
    _H,
    feature_dropout=0.3,
    kmeans_queue_thinning=2,
    kmeans_iterations=2,
    restart_epochs=2,
    restart_decay=0.5,
    early_stop_epochs=1,
    lr=0.1,
)
"""Options whose state a restart must keep; the high learning rate lets the total rise, so the early stop counts."""
_CLUSTERED = [name for name, losses in SUBSETS.items() if Loss.CLU in losses]


class _Planted(StandardisedSplit):
    """Three groups of samples in memory, and a list of the rows of each batch."""

    def __init__(self, rows: int = 60) -> None:
        rng = np.random.default_rng(0)
        groups = np.arange(rows) % 3
        self.device = torch.device("cpu")
        self.features = {
            name: torch.from_numpy(rng.normal(size=(3, width))[groups] + 0.3 * rng.normal(size=(rows, width))).float()
            for name, width in _WIDTHS.items()
        }
        self.batches: list[list[int]] = []

    @property
    def gaps(self) -> dict[str, Tensor]:
        return {}

    @property
    def versions(self) -> Tensor:
        return torch.arange(len(self))[:, None]

    def __len__(self) -> int:
        return len(self.features["video"])

    def batch(self, rows: Tensor) -> dict[str, Tensor]:
        self.batches.append(rows.tolist())
        return {name: x[rows] for name, x in self.features.items()}


class _RecordedKMeans:
    """k-means that records the arguments and the result of each call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, int, int, tuple[Tensor, Tensor]]] = []
        self.starts: list[tuple[Tensor | None, int]] = []

    def __call__(
        self, x: Tensor, k: int, seed: int, *, initial: Tensor | None, iterations: int
    ) -> tuple[Tensor, Tensor]:
        centroids, labels = kmeans(x, k, seed, initial=initial, iterations=iterations)
        result = centroids.to(x.dtype), labels
        self.calls.append((x.clone(), k, seed, result))
        self.starts.append((None if initial is None else initial.clone(), iterations))
        return result


@pytest.fixture
def _float64() -> Iterator[None]:
    """Compute in float64, as AdamW amplifies rounding: in float32, two orders of operations drift apart."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> _RecordedKMeans:
    spy = _RecordedKMeans()
    monkeypatch.setattr(pretrain, "kmeans", spy)
    return spy


def _run(
    name: str, h: Hyperparameters = _H, *, data: StandardisedSplit | None = None, epochs: int = 6, seed: int = 0
) -> Pretraining:
    return Pretraining(data or _Planted(), _WIDTHS, SUBSETS[name], h, epochs=epochs, seed=seed)


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def _initial_heads(run: Pretraining, name: str, h: Hyperparameters) -> tuple[RepresentationHeads, PretrainingHeads]:
    """Return copies of the modules of a run that has not started."""
    head, heads = build_head(_WIDTHS, h, 0), PretrainingHeads(_WIDTHS, SUBSETS[name], h)
    prefix = "modules.heads."
    heads.load_state_dict({k.removeprefix(prefix): v for k, v in run.state().items() if k.startswith(prefix)})
    return head, heads


@pytest.mark.parametrize("name", SUBSETS)
def test_pretraining_lowers_the_loss(name: str) -> None:
    run = _run(name, epochs=20)
    totals = [run.run_epoch()["total"] for _ in range(20)]
    assert np.mean(totals[-3:]) < 0.93 * totals[0]


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("mode", ["individual", "joint"])
@pytest.mark.parametrize("name", SUBSETS)
def test_pretraining_equals_a_plain_loop(name: str, mode: str, recorded: _RecordedKMeans) -> None:
    """The loop follows docs/method.md, sections 3 and 5: weights, mean of active losses, queue, AdamW, schedule.

    It takes the run's centroids, and must reproduce the logits that they were computed from.
    """
    data, epochs = _Planted(), 5
    start = 1 if len(SUBSETS[name]) > 1 else 0
    data.features = {modality: x.double() for modality, x in data.features.items()}
    weights = {"weight_con": 0.5, "weight_clu": 3.0, "weight_gen": 2.0, "weight_decay": 0.3}
    h = replace(_H, **weights, margin=0.2, kmeans_start_epoch=start, kmeans_loss_mode=mode)
    run = _run(name, h, data=data, epochs=epochs)
    head, heads = _initial_heads(run, name, h)
    measured = [run.run_epoch() for _ in range(epochs)]

    optimizer = torch.optim.AdamW([*head.parameters(), *heads.parameters()], lr=1e-2, weight_decay=0.3)
    batches, calls = iter(data.batches), iter(recorded.calls)
    for epoch, factor in enumerate([0.1, 0.55, 1.0, 0.75, 0.25]):  # 0.1 + 0.9 e / 2; (1 + cos(pi p / 3)) / 2
        optimizer.param_groups[0]["lr"] = 1e-2 * factor
        sums: dict[str, float] = {}
        queue: list[Tensor] = []
        for _ in range(4):
            rows = next(batches)
            x = {modality: values[rows] for modality, values in data.features.items()}
            z, terms = head(x), {}
            if Loss.CON in SUBSETS[name]:
                terms["Con"] = (0.5, contrastive_loss(heads.project(z), 0.2, 0.3))
            if Loss.CLU in SUBSETS[name] and epoch >= start:
                logits = heads.cluster_logits(heads.project(z))
                mean = (logits["video"] + logits["audio"] + logits["text"]).detach() / 3  # [b, K]
                points, k, _, (centroids, labels) = next(calls)
                assert k == 3
                assert points.numpy() == pytest.approx(torch.cat([*queue, mean]).numpy(), abs=1e-6)
                terms["Clu"] = (3.0, clustering_loss(logits, centroids, labels[-15:], mode, 0.2))
                queue = [mean]
            if Loss.GEN in SUBSETS[name]:
                terms["Gen"] = (2.0, reconstruction_loss(heads.reconstruct(z), x))
            total = sum(weight * value for weight, value in terms.values()) / len(terms)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            for loss, value in [*((loss, value) for loss, (_, value) in terms.items()), ("total", total)]:
                sums[loss] = sums.get(loss, 0) + value.item() / 4
        assert measured[epoch] == pytest.approx(sums, rel=1e-6)
    for ours, plain in zip(run.head.parameters(), head.parameters(), strict=True):
        assert ours.detach().numpy() == pytest.approx(plain.detach().numpy(), abs=1e-6)
    assert next(batches, None) is None
    assert next(calls, None) is None


class TestLossDictionary:
    @pytest.mark.parametrize("name", SUBSETS)
    def test_an_epoch_returns_unweighted_losses_and_their_weighted_mean(self, name: str) -> None:
        h = replace(_H, weight_con=0.3, weight_clu=5.0, weight_gen=0.01)
        measured = _run(name, h).run_epoch()
        weights = {"Con": 0.3, "Clu": 5.0, "Gen": 0.01}
        names = [str(loss) for loss in SUBSETS[name]]
        assert set(measured) == {*names, "total"}
        assert measured["total"] == pytest.approx(np.mean([weights[loss] * measured[loss] for loss in names]))
        assert all(type(value) is float for value in measured.values())

    @pytest.mark.parametrize("name", SUBSETS)
    def test_losses_before_the_first_step_do_not_depend_on_their_weights(self, name: str) -> None:
        plain, weighted = (
            _run(name, replace(_H, weight_con=w, weight_clu=w, weight_gen=w)).run_epoch(max_steps=1)
            for w in (1.0, 0.125)
        )
        assert weighted.pop("total") == plain.pop("total") / 8
        assert weighted == plain

    @pytest.mark.parametrize("name", SUBSETS)
    def test_every_subset_starts_from_the_same_head(self, name: str) -> None:
        """That head is the random baseline of the seed."""
        assert _equal(_run(name).head.state_dict(), build_head(_WIDTHS, _H, 0).state_dict())


class TestResumption:
    @pytest.mark.parametrize("epochs", [0, 1, 3])
    @pytest.mark.parametrize("name", SUBSETS)
    def test_a_resumed_run_continues_to_the_same_bits(self, name: str, epochs: int) -> None:
        """The state goes through safetensors, as in a checkpoint; clustering starts after the first epochs."""
        h = replace(_EVERY_OPTION, kmeans_start_epoch=2 if len(SUBSETS[name]) > 1 else 0)
        whole, first = _run(name, h), _run(name, h)
        expected = [(whole.run_epoch(), whole.finished) for _ in range(5)]
        before = [(first.run_epoch(), first.finished) for _ in range(epochs)]
        rest = _run(name, h)
        rest.load_state(load(save({key: value.contiguous() for key, value in first.state().items()})))
        assert (rest.epoch, rest.finished) == (epochs, first.finished)
        assert [*before, *((rest.run_epoch(), rest.finished) for _ in range(epochs, 5))] == expected
        assert rest.epoch == 5
        assert _equal(rest.state(), whole.state())

    def test_the_state_includes_the_centroids(self) -> None:
        """Without them, the first step after a restart starts k-means from random points."""
        whole, cold = _run("ConCluGen"), _run("ConCluGen")
        whole.run_epoch()
        state = _copy(whole.state())
        del state["centroids"]
        cold.load_state(state)
        whole.run_epoch()
        cold.run_epoch()
        assert not _equal(cold.state(), whole.state())

    def test_loading_a_state_replaces_everything(self) -> None:
        whole = _run("ConCluGen")
        state = _copy(whole.state() if whole.run_epoch() else {})
        used = _run("ConCluGen")
        for _ in range(3):
            used.run_epoch()
        used.load_state(state)
        assert used.run_epoch() == whole.run_epoch()
        assert _equal(used.state(), whole.state())

    @pytest.mark.parametrize("name", SUBSETS)
    def test_the_state_has_tensors_of_the_heads_in_use(self, name: str) -> None:
        run = _run(name)
        run.run_epoch()
        state = run.state()
        assert all(isinstance(value, Tensor) for value in state.values())
        assert state["epoch"].item() == 1
        parts = {key.split(".")[2] for key in state if key.startswith("modules.heads.")}
        losses = set(SUBSETS[name])
        expected = {"projection": {Loss.CON, Loss.CLU}, "cluster": {Loss.CLU}, "reconstruction": {Loss.GEN}}
        assert parts == {part for part, users in expected.items() if losses & users}


class TestSeeds:
    @pytest.mark.parametrize("name", SUBSETS)
    def test_the_same_seed_gives_the_same_weights(self, name: str) -> None:
        h, runs = _EVERY_OPTION, []
        for seed in (4, 4, 5):
            torch.rand(len(runs) + 1)  # the global generator has another state each time
            before = torch.get_rng_state()
            run = _run(name, h, seed=seed)
            losses = [run.run_epoch() for _ in range(2)]
            assert torch.equal(torch.get_rng_state(), before)
            runs.append((losses, _copy(run.state())))
        assert runs[0][0] == runs[1][0]
        assert _equal(runs[0][1], runs[1][1])
        assert runs[0][0] != runs[2][0]
        different = [key for key in runs[0][1] if not torch.equal(runs[0][1][key], runs[2][1][key])]
        assert all(key in different for key in runs[0][1] if key.startswith("modules.") and key.endswith("weight"))

    def test_the_head_depends_on_the_seed_alone(self) -> None:
        before = torch.get_rng_state()
        one, same, other = (build_head(_WIDTHS, _H, seed).state_dict() for seed in (1, 1, 2))
        assert torch.equal(torch.get_rng_state(), before)
        assert _equal(one, same)
        assert not any(torch.equal(value, other[name]) for name, value in one.items())

    def test_a_head_with_lifted_audio_is_built(self) -> None:
        assert isinstance(build_head(_WIDTHS, replace(_H, lift_audio=True), 0).heads["audio"], nn.Sequential)


class TestBatches:
    @settings(deadline=None, max_examples=30)
    @given(rows=st.integers(3, 40), batch_size=st.integers(3, 50), seed=st.integers(0, 2**31 - 1))
    def test_an_epoch_takes_whole_batches_of_different_rows(self, rows: int, batch_size: int, seed: int) -> None:
        """A short last batch is left out; a set smaller than a batch is one batch."""
        data = _Planted(rows)
        run = _run("Gen", replace(_H, batch_size=batch_size), data=data, seed=seed)
        run.run_epoch()
        size = min(batch_size, rows)
        assert [len(batch) for batch in data.batches] == [size] * (rows // size)
        assert run.steps_per_epoch == rows // size
        used = list(chain(*data.batches))
        assert len(set(used)) == len(used)
        assert set(used) <= set(range(rows))

    def test_each_epoch_and_seed_has_its_own_order(self) -> None:
        orders = set()
        for seed in (0, 1):
            data = _Planted()
            run = _run("Gen", data=data, seed=seed)
            for _ in range(3):
                data.batches.clear()
                run.run_epoch()
                orders.add(tuple(chain(*data.batches)))
        assert len(orders) == 6
        assert all(sorted(order) == list(range(60)) for order in orders)

    def test_the_order_is_the_same_for_every_subset(self) -> None:
        orders = set()
        for name in SUBSETS:
            data = _Planted()
            run = _run(name, data=data)
            run.run_epoch()
            orders.add(tuple(chain(*data.batches)))
        assert len(orders) == 1

    def test_every_row_is_used_in_some_epoch(self) -> None:
        """Each epoch leaves out 25 of 60 rows; 30 epochs leave out a given row with probability (5/12)^30 < 1e-11."""
        data = _Planted()
        run = _run("Gen", replace(_H, batch_size=35), data=data, epochs=30)
        for _ in range(30):
            run.run_epoch()
        assert set(chain(*data.batches)) == set(range(60))

    @pytest.mark.parametrize(("max_steps", "steps"), [(1, 1), (3, 3), (4, 4), (99, 4), (None, 4)])
    def test_an_epoch_can_end_after_some_steps(self, max_steps: int | None, steps: int) -> None:
        """These steps are the first ones of the whole epoch."""
        data, whole = _Planted(), _Planted()
        run = _run("Gen", data=data)
        run.run_epoch(max_steps)
        _run("Gen", data=whole).run_epoch()
        assert run.epoch == 1
        assert data.batches == whole.batches[:steps]

    def test_an_epoch_returns_the_mean_over_its_steps(self) -> None:
        """With a learning rate of 0, the loss of each step is that of its rows with the initial weights."""
        data, h = _Planted(), replace(_H, lr=0.0)
        run = _run("Gen", h, data=data)
        head, heads = _initial_heads(run, "Gen", h)
        measured = run.run_epoch(max_steps=3)
        batches = [{name: x[rows] for name, x in data.features.items()} for rows in data.batches]
        losses = [reconstruction_loss(heads.reconstruct(head(x)), x).item() for x in batches]
        assert (len(losses), len(set(losses))) == (3, 3)
        assert measured["Gen"] == pytest.approx(np.mean(losses), rel=1e-5)


class TestFeatureDropout:
    def _inputs(
        self, rate: float, steps: int = 2, rows: int = 1500
    ) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """Return for each step the inputs of the head and the features of the batch."""
        data, head_inputs = _Planted(rows), []
        run = _run("Gen", replace(_H, feature_dropout=rate, batch_size=rows // 2), data=data)
        run.head.register_forward_pre_hook(lambda _, inputs: head_inputs.append(inputs[0]))
        for _ in range(-(-steps // 2)):
            run.run_epoch()
        whole = [{name: x[rows] for name, x in data.features.items()} for rows in data.batches]
        return list(zip(head_inputs, whole, strict=True))

    def test_a_dropout_of_0_leaves_inputs_unchanged(self) -> None:
        for inputs, whole in self._inputs(0.0):
            assert _equal(inputs, whole)

    @pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
    def test_dropout_has_its_rate_and_keeps_the_expected_input(self, rate: float) -> None:
        """With 750 rows and 16 features, five standard deviations of the rate are 5 sqrt(rate (1 - rate) / 12000).

        Kept features are scaled by 1 / (1 - rate), so that the expected input is the feature.
        """
        for inputs, whole in self._inputs(rate):
            dropped = torch.cat([x == 0 for x in inputs.values()], dim=1)
            spread = math.sqrt(rate * (1 - rate))
            assert dropped.float().mean().item() == pytest.approx(rate, abs=5 * spread / math.sqrt(12000))
            for feature in dropped.float().mean(dim=0).tolist():
                assert feature == pytest.approx(rate, abs=5 * spread / math.sqrt(750))
            for name, x in inputs.items():
                mask = x != 0
                assert x[mask].numpy() == pytest.approx((whole[name][mask] / (1 - rate)).numpy(), rel=1e-5)

    def test_every_step_and_modality_has_its_own_mask(self) -> None:
        """Two independent masks agree in half of their 3,000 elements."""
        masks = [x[:, :4] == 0 for inputs, _ in self._inputs(0.5, steps=4) for x in inputs.values()]
        assert len(masks) == 12
        for i, one in enumerate(masks):
            for other in masks[:i]:
                assert (one == other).float().mean().item() == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(3000))

    def test_reconstruction_targets_have_no_dropout(self) -> None:
        h, head_inputs = replace(_H, feature_dropout=0.5), []
        data = _Planted()
        run = _run("Gen", h, data=data)
        head, heads = _initial_heads(run, "Gen", h)
        run.head.register_forward_pre_hook(lambda _, inputs: head_inputs.append(inputs[0]))
        measured = run.run_epoch(max_steps=1)
        whole = {name: x[data.batches[0]] for name, x in data.features.items()}
        expected = reconstruction_loss(heads.reconstruct(head(head_inputs[0])), whole)
        assert measured["Gen"] == pytest.approx(expected.item(), rel=1e-5)

    def test_features_are_left_alone(self) -> None:
        data = _Planted()
        before = _copy(data.features)
        _run("ConCluGen", replace(_H, feature_dropout=0.5), data=data).run_epoch()
        assert _equal(data.features, before)


class TestLearningRate:
    def _rates(self, run: Pretraining, epochs: int) -> list[list[float]]:
        """Return the optimiser's learning rate at each step of each epoch."""
        rates: list[list[float]] = []

        def recording_step(optimizer: AdamW) -> None:
            rates[-1].append(optimizer.lr)
            step(optimizer)

        step = AdamW.step
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(AdamW, "step", recording_step)
            for _ in range(epochs):
                rates.append([])
                run.run_epoch()
        return rates

    def test_the_cosine_ends_with_the_budget(self) -> None:
        """Five epochs rise from a tenth; then the factors are (1 + cos(pi p / 4)) / 2 for p = 0..3."""
        rates = self._rates(_run("Gen", replace(_H, lr=0.02, warmup_epochs=5), epochs=9), 9)
        root = math.sqrt(2)
        factors = [0.1, 0.28, 0.46, 0.64, 0.82, 1, (2 + root) / 4, 0.5, (2 - root) / 4]
        assert rates == [pytest.approx([0.02 * factor] * 4) for factor in factors]

    def test_the_schedule_can_have_no_warmup(self) -> None:
        rates = self._rates(_run("Gen", replace(_H, warmup_epochs=0), epochs=2), 2)
        assert [rate[0] for rate in rates] == pytest.approx([1e-2, 0.5e-2])

    def test_the_budget_may_end_with_the_warmup(self) -> None:
        rates = self._rates(_run("Gen", replace(_H, warmup_epochs=2), epochs=2), 2)
        assert [rate[0] for rate in rates] == pytest.approx([0.1e-2, 0.55e-2])

    def test_each_restart_is_lower_by_the_decay(self) -> None:
        """Each cycle of two epochs has (1 + cos 0) / 2 = 1 and (1 + cos(pi / 2)) / 2 = 1/2 of its peak."""
        h = replace(_H, restart_epochs=2, restart_decay=0.4)
        rates = self._rates(_run("Gen", h, epochs=8), 8)
        factors = [0.1, 0.55, 1, 0.5, 0.4, 0.2, 0.16, 0.08]
        assert [rate[0] for rate in rates] == pytest.approx([1e-2 * factor for factor in factors])

    def test_a_resumed_run_continues_the_schedule(self) -> None:
        first, rest = _run("Gen", epochs=5), _run("Gen", epochs=5)
        first.run_epoch()
        first.run_epoch()
        rest.load_state(_copy(first.state()))
        assert [rate[0] for rate in self._rates(rest, 3)] == pytest.approx([1e-2, 0.75e-2, 0.25e-2])


class TestClustering:
    @pytest.mark.parametrize("start", [0, 1, 3])
    @pytest.mark.parametrize("name", _CLUSTERED)
    def test_clustering_starts_at_its_epoch(self, name: str, start: int, recorded: _RecordedKMeans) -> None:
        run = _run(name, replace(_H, kmeans_start_epoch=start))
        before = {str(loss) for loss in SUBSETS[name]} - {"Clu"}
        for epoch in range(4):
            measured, calls = run.run_epoch(), len(recorded.calls)
            if epoch < start:
                assert set(measured) == (before | {"total"} if before else set())
                assert calls == 0
            else:
                assert set(measured) == before | {"Clu", "total"}
                assert calls == 4 * (epoch - start + 1)

    def test_clustering_alone_trains_nothing_before_its_start(self) -> None:
        run = _run("Clu", replace(_H, kmeans_start_epoch=1))
        head, cluster = _copy(run.head.state_dict()), run.state()["modules.heads.cluster.weight"].clone()
        assert run.run_epoch() == {}
        assert _equal(run.head.state_dict(), head)
        assert torch.equal(run.state()["modules.heads.cluster.weight"], cluster)
        assert run.epoch == 1
        run.run_epoch()
        assert not _equal(run.head.state_dict(), head)
        assert not torch.equal(run.state()["modules.heads.cluster.weight"], cluster)

    def test_before_clustering_starts_the_run_is_that_of_the_other_losses(self) -> None:
        """The total is the mean over the active losses; a loss that has not started is not in its denominator."""
        with_clu, without = _run("ConClu", replace(_H, kmeans_start_epoch=2)), _run("Con")
        for _ in range(2):
            assert with_clu.run_epoch() == without.run_epoch()
        assert _equal(with_clu.head.state_dict(), without.head.state_dict())
        with_clu.run_epoch()
        without.run_epoch()
        assert not _equal(with_clu.head.state_dict(), without.head.state_dict())

    @pytest.mark.parametrize("size", [0, 1, 2, 3, 4])
    def test_the_queue_is_used_once_full_and_emptied_each_epoch(self, size: int, recorded: _RecordedKMeans) -> None:
        """Of four steps of 15 rows, those before step ``size`` see one batch, and later ones ``size`` batches more."""
        run = _run("ConClu", replace(_H, kmeans_queue_size=size))
        for _ in range(2):
            run.run_epoch()
        points = [x for x, *_ in recorded.calls]
        assert [len(x) for x in points] == [15 * (size + 1) if step >= size else 15 for step in range(4)] * 2
        batches = [x[-15:] for x in points]
        for epoch in range(2):
            for step in range(size, 4):
                number = 4 * epoch + step
                assert torch.equal(points[number], torch.cat(batches[number - size : number + 1]))

    @pytest.mark.parametrize(("thinning", "rows"), [(1, 15), (2, 8), (4, 4), (99, 1)])
    def test_the_queue_is_thinned_and_the_current_batch_is_not(
        self, thinning: int, rows: int, recorded: _RecordedKMeans
    ) -> None:
        _run("ConClu", replace(_H, kmeans_queue_size=2, kmeans_queue_thinning=thinning)).run_epoch()
        points = [x for x, *_ in recorded.calls]
        assert [len(x) for x in points] == [15, 15, 15 + 2 * rows, 15 + 2 * rows]
        batches = [x[-15:] for x in points]
        assert torch.equal(points[3], torch.cat([batches[1][::thinning], batches[2][::thinning], batches[3]]))

    @pytest.mark.parametrize("start", [0, 2])
    def test_k_means_starts_where_the_last_step_ended(self, start: int, recorded: _RecordedKMeans) -> None:
        """The first k-means of the run starts from random points."""
        run = _run("ConClu", replace(_H, kmeans_start_epoch=start, kmeans_iterations=3))
        for _ in range(start + 2):
            run.run_epoch()
        (first, _), *later = recorded.starts
        assert first is None
        ends = [centroids for *_, (centroids, _) in recorded.calls]
        assert all(torch.equal(initial, end) for (initial, _), end in zip(later, ends, strict=False))
        assert {iterations for _, iterations in recorded.starts} == {3}

    def test_without_a_warm_start_k_means_starts_from_random_points(self, recorded: _RecordedKMeans) -> None:
        run = _run("ConClu", replace(_H, kmeans_warm_start=False, kmeans_iterations=100))
        run.run_epoch()
        assert recorded.starts == [(None, 100)] * 4
        assert "centroids" not in run.state()

    def test_k_means_clusters_the_detached_mean_of_all_modalities(self, recorded: _RecordedKMeans) -> None:
        data = _Planted()
        run = _run("Clu", replace(_H, num_clusters=5), data=data)
        head, heads = _initial_heads(run, "Clu", replace(_H, num_clusters=5))
        run.run_epoch(max_steps=1)
        ((points, k, _, _),) = recorded.calls
        logits = heads.cluster_logits(heads.project(head({n: x[data.batches[0]] for n, x in data.features.items()})))
        expected = torch.stack(list(logits.values())).mean(dim=0).detach()
        assert (k, points.shape, points.requires_grad) == (5, (15, 5), False)
        assert points.numpy() == pytest.approx(expected.numpy(), abs=1e-5)

    def test_each_step_has_its_own_seed(self, recorded: _RecordedKMeans) -> None:
        for seed in (0, 1):
            run = _run("Clu", seed=seed)
            run.run_epoch()
            run.run_epoch()
        assert len({seed for _, _, seed, _ in recorded.calls}) == 16


class TestFinished:
    def _finished(self, run: Pretraining, totals: list[float], monkeypatch: pytest.MonkeyPatch) -> list[bool]:
        """Return whether the run is finished after each epoch, if epochs have these totals."""
        finished = []
        for total in totals:
            for loss in ("contrastive_loss", "clustering_loss"):  # the total is their mean
                constant = lambda tensors, *_, total=total: total + 0 * tensors["video"].sum()  # noqa: E731
                monkeypatch.setattr(pretrain, loss, constant)
            run.run_epoch()
            finished.append(run.finished)
        return finished

    def _conclu(self, patience: int, epochs: int = 99) -> Pretraining:
        return _run("ConClu", replace(_H, kmeans_start_epoch=2, early_stop_epochs=patience), epochs=epochs)

    def test_a_run_is_finished_when_the_budget_is_spent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self._finished(self._conclu(0, epochs=5), [1.0] * 5, monkeypatch) == [False] * 4 + [True]

    @pytest.mark.parametrize(
        ("patience", "totals", "stop"),
        [
            (0, [9, 9, 5, 5, 5, 5, 5], None),
            (1, [9, 9, 5, 4, 4], 5),
            (2, [9, 9, 5, 6, 4, 5, 4.5], 7),
            (2, [9, 9, 5, 6, 4.9, 5, 4.8], None),
            (3, [9, 9, 5, 6, 7, 8], 6),
            (1, [1, 2, 5, 4], None),  # clustering raises the total, which is compared only with totals that include it
            (1, [1, 2, 5, 6], 4),
        ],
    )
    def test_a_run_is_finished_when_the_total_stops_improving(
        self, patience: int, totals: list[float], stop: int | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Epochs before clustering starts do not count."""
        expected = [stop is not None and epoch >= stop for epoch in range(1, len(totals) + 1)]
        assert self._finished(self._conclu(patience), totals, monkeypatch) == expected

    def test_a_resumed_run_continues_to_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first, rest = self._conclu(3), self._conclu(3)
        self._finished(first, [9, 9, 5, 6, 7], monkeypatch)
        rest.load_state(_copy(first.state()))
        assert self._finished(rest, [5.0], monkeypatch) == [True]


@pytest.mark.parametrize("name", SUBSETS)
def test_a_loss_that_is_not_finite_ends_the_run(name: str) -> None:
    data = _Planted()
    run = _run(name, data=data)
    run.run_epoch()
    data.features["audio"][7, 2] = math.inf
    with pytest.raises(DivergedError, match="epoch 1"):
        run.run_epoch()
    assert run.epoch == 1


class TestRepresent:
    def test_representations_are_the_outputs_of_the_head(self) -> None:
        data, head = _Planted(), build_head(_WIDTHS, _H, 0)
        rows = torch.tensor([5, 0, 0, 59])
        representations = represent(head, data, rows)
        assert (representations.shape, representations.requires_grad) == ((4, 48), False)
        with torch.no_grad():
            expected = torch.cat(list(head({name: x[rows] for name, x in data.features.items()}).values()), dim=1)
        assert torch.equal(representations, expected)

    @pytest.mark.parametrize("chunk", [1, 7, 20, 1000])
    def test_representations_do_not_depend_on_the_chunk(self, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
        data, head = _Planted(), build_head(_WIDTHS, _H, 0)
        expected = represent(head, data, torch.arange(20))
        monkeypatch.setattr(pretrain, "CHUNK_ROWS", chunk)
        assert represent(head, data, torch.arange(20)).numpy() == pytest.approx(expected.numpy(), abs=1e-6)

    def test_representations_have_no_dropout(self) -> None:
        run = _run("Gen", replace(_H, feature_dropout=0.9))
        run.run_epoch()
        first, again = (represent(run.head, _Planted(), torch.arange(60)) for _ in range(2))
        assert torch.equal(first, again)
        assert run.run_epoch()["Gen"] > 0
