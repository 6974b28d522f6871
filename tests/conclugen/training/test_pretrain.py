"""Pretraining against a plain training loop, and its promises: resumption, seeds, batches, schedule, clustering.

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
"""What must survive a restart: a learning rate this high lets the total rise, so that the early stop counts."""
_CLUSTERED = [name for name, losses in SUBSETS.items() if Loss.CLU in losses]


class _Planted(StandardisedSplit):
    """Three groups of samples, in memory; remembers which rows were asked for."""

    def __init__(self, rows: int = 60) -> None:
        rng = np.random.default_rng(0)
        groups = np.arange(rows) % 3
        self.device = torch.device("cpu")
        self.features = {
            name: torch.from_numpy(rng.normal(size=(3, width))[groups] + 0.3 * rng.normal(size=(rows, width))).float()
            for name, width in _WIDTHS.items()
        }
        self.asked: list[list[int]] = []

    @property
    def versions(self) -> Tensor:
        return torch.arange(len(self))[:, None]

    def __len__(self) -> int:
        return len(self.features["video"])

    def batch(self, rows: Tensor) -> dict[str, Tensor]:
        self.asked.append(rows.tolist())
        return {name: x[rows] for name, x in self.features.items()}


class _RecordedKMeans:
    """k-means, with the arguments and the result of each call kept."""

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
    """AdamW divides rounding noise by its own size: in float32, two orders of operations drift apart."""
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
    """Copies of the modules of a run that has not begun."""
    head, heads = build_head(_WIDTHS, h, 0), PretrainingHeads(_WIDTHS, SUBSETS[name], h)
    prefix = "modules.heads."
    heads.load_state_dict({k.removeprefix(prefix): v for k, v in run.state().items() if k.startswith(prefix)})
    return head, heads


@pytest.mark.parametrize("name", SUBSETS)
def test_loss_decreases(name: str) -> None:
    run = _run(name, epochs=20)
    totals = [run.run_epoch()["total"] for _ in range(20)]
    assert np.mean(totals[-3:]) < 0.93 * totals[0]


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("mode", ["individual", "joint"])
@pytest.mark.parametrize("name", SUBSETS)
def test_equals_a_plain_training_loop(name: str, mode: str, recorded: _RecordedKMeans) -> None:
    """Sections 3 and 5 of METHOD step by step: weights, mean over active losses, queue, AdamW, warm-up and cosine.

    The centroids are those that the run computed, from logits that this loop must reproduce.
    """
    data, epochs, start = _Planted(), 5, 1 if len(SUBSETS[name]) > 1 else 0
    data.features = {modality: x.double() for modality, x in data.features.items()}
    weights = {"weight_con": 0.5, "weight_clu": 3.0, "weight_gen": 2.0, "weight_decay": 0.3}
    h = replace(_H, **weights, margin=0.2, kmeans_start_epoch=start, kmeans_loss_mode=mode)
    run = _run(name, h, data=data, epochs=epochs)
    head, heads = _initial_heads(run, name, h)
    measured = [run.run_epoch() for _ in range(epochs)]

    optimizer = torch.optim.AdamW([*head.parameters(), *heads.parameters()], lr=1e-2, weight_decay=0.3)
    batches, calls = iter(data.asked), iter(recorded.calls)
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
                seen, k, _, (centroids, labels) = next(calls)
                assert k == 3
                assert seen.numpy() == pytest.approx(torch.cat([*queue, mean]).numpy(), abs=1e-6)
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
    def test_holds_the_losses_unweighted_and_the_weighted_mean(self, name: str) -> None:
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
    def test_other_losses_do_not_change_the_start(self, name: str) -> None:
        """A subset's run starts from the head of every other subset with that seed, and so of the random baseline."""
        assert _equal(_run(name).head.state_dict(), build_head(_WIDTHS, _H, 0).state_dict())


class TestResumption:
    @pytest.mark.parametrize("cut", [0, 1, 3])
    @pytest.mark.parametrize("name", SUBSETS)
    def test_continues_to_the_same_bits(self, name: str, cut: int) -> None:
        """Through safetensors, as a checkpoint does it; clustering begins after the first cuts."""
        h = replace(_EVERY_OPTION, kmeans_start_epoch=2 if len(SUBSETS[name]) > 1 else 0)
        whole, first = _run(name, h), _run(name, h)
        expected = [(whole.run_epoch(), whole.finished) for _ in range(5)]
        begun = [(first.run_epoch(), first.finished) for _ in range(cut)]
        rest = _run(name, h)
        rest.load_state(load(save({key: value.contiguous() for key, value in first.state().items()})))
        assert (rest.epoch, rest.finished) == (cut, first.finished)
        assert [*begun, *((rest.run_epoch(), rest.finished) for _ in range(cut, 5))] == expected
        assert rest.epoch == 5
        assert _equal(rest.state(), whole.state())

    def test_centroids_are_of_the_state(self) -> None:
        """Without them, the first step after a restart would start its clusters anew."""
        whole, cold = _run("ConCluGen"), _run("ConCluGen")
        whole.run_epoch()
        state = _copy(whole.state())
        del state["centroids"]
        cold.load_state(state)
        whole.run_epoch()
        cold.run_epoch()
        assert not _equal(cold.state(), whole.state())

    def test_what_the_resumed_run_was_before_does_not_matter(self) -> None:
        whole = _run("ConCluGen")
        state = _copy(whole.state() if whole.run_epoch() else {})
        used = _run("ConCluGen")
        for _ in range(3):
            used.run_epoch()
        used.load_state(state)
        assert used.run_epoch() == whole.run_epoch()
        assert _equal(used.state(), whole.state())

    @pytest.mark.parametrize("name", SUBSETS)
    def test_state_is_tensors_of_the_heads_in_use(self, name: str) -> None:
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
    def test_same_seed_same_weights(self, name: str) -> None:
        h, runs = _EVERY_OPTION, []
        for seed in (4, 4, 5):
            torch.rand(len(runs) + 1)  # the global generator is somewhere else each time
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

    def test_head_depends_on_the_seed_alone(self) -> None:
        before = torch.get_rng_state()
        one, same, other = (build_head(_WIDTHS, _H, seed).state_dict() for seed in (1, 1, 2))
        assert torch.equal(torch.get_rng_state(), before)
        assert _equal(one, same)
        assert not any(torch.equal(value, other[name]) for name, value in one.items())

    def test_a_lifted_head_is_built_where_asked(self) -> None:
        assert isinstance(build_head(_WIDTHS, replace(_H, lift_audio=True), 0).heads["audio"], nn.Sequential)


class TestBatches:
    @settings(deadline=None, max_examples=30)
    @given(rows=st.integers(3, 40), batch_size=st.integers(3, 50), seed=st.integers(0, 2**31 - 1))
    def test_an_epoch_takes_whole_batches_of_different_rows(self, rows: int, batch_size: int, seed: int) -> None:
        """A last batch that is too small is left out; a set smaller than a batch is one batch."""
        data = _Planted(rows)
        run = _run("Gen", replace(_H, batch_size=batch_size), data=data, seed=seed)
        run.run_epoch()
        size = min(batch_size, rows)
        assert [len(batch) for batch in data.asked] == [size] * (rows // size)
        assert run.steps_per_epoch == rows // size
        taken = list(chain(*data.asked))
        assert len(set(taken)) == len(taken)
        assert set(taken) <= set(range(rows))

    def test_each_epoch_and_seed_has_its_own_order(self) -> None:
        orders = set()
        for seed in (0, 1):
            data = _Planted()
            run = _run("Gen", data=data, seed=seed)
            for _ in range(3):
                data.asked.clear()
                run.run_epoch()
                orders.add(tuple(chain(*data.asked)))
        assert len(orders) == 6
        assert all(sorted(order) == list(range(60)) for order in orders)

    def test_the_order_is_the_same_for_every_subset(self) -> None:
        orders = set()
        for name in SUBSETS:
            data = _Planted()
            run = _run(name, data=data)
            run.run_epoch()
            orders.add(tuple(chain(*data.asked)))
        assert len(orders) == 1

    def test_no_row_is_left_out_for_good(self) -> None:
        """60 rows in batches of 35: each epoch leaves 25 out, so all 30 epochs leave one out with (5/12)^30 < 1e-11."""
        data = _Planted()
        run = _run("Gen", replace(_H, batch_size=35), data=data, epochs=30)
        for _ in range(30):
            run.run_epoch()
        assert set(chain(*data.asked)) == set(range(60))

    @pytest.mark.parametrize(("max_steps", "steps"), [(1, 1), (3, 3), (4, 4), (99, 4), (None, 4)])
    def test_max_steps(self, max_steps: int | None, steps: int) -> None:
        """The first steps of the same epoch."""
        data, whole = _Planted(), _Planted()
        run = _run("Gen", data=data)
        run.run_epoch(max_steps)
        _run("Gen", data=whole).run_epoch()
        assert run.epoch == 1
        assert data.asked == whole.asked[:steps]

    def test_an_epoch_returns_the_mean_over_its_steps(self) -> None:
        """Without learning, the loss of each step is that of its rows under the first weights."""
        data, h = _Planted(), replace(_H, lr=0.0)
        run = _run("Gen", h, data=data)
        head, heads = _initial_heads(run, "Gen", h)
        measured = run.run_epoch(max_steps=3)
        batches = [{name: x[rows] for name, x in data.features.items()} for rows in data.asked]
        losses = [reconstruction_loss(heads.reconstruct(head(x)), x).item() for x in batches]
        assert (len(losses), len(set(losses))) == (3, 3)
        assert measured["Gen"] == pytest.approx(np.mean(losses), rel=1e-5)


class TestFeatureDropout:
    def _inputs(
        self, rate: float, steps: int = 2, rows: int = 1500
    ) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """For each step: what the head was given, and the features of the batch."""
        data, taken = _Planted(rows), []
        run = _run("Gen", replace(_H, feature_dropout=rate, batch_size=rows // 2), data=data)
        run.head.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
        for _ in range(-(-steps // 2)):
            run.run_epoch()
        whole = [{name: x[rows] for name, x in data.features.items()} for rows in data.asked]
        return list(zip(taken, whole, strict=True))

    def test_0_leaves_inputs_unchanged(self) -> None:
        for inputs, whole in self._inputs(0.0):
            assert _equal(inputs, whole)

    @pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
    def test_rate_and_scale(self, rate: float) -> None:
        """750 rows and 16 features: five standard deviations of the dropped share are 5 sqrt(rate (1 - rate) / 12000).

        What is kept is scaled by 1 / (1 - rate), so that the expected input is the feature.
        """
        for inputs, whole in self._inputs(rate):
            dropped = torch.cat([x == 0 for x in inputs.values()], dim=1)
            spread = math.sqrt(rate * (1 - rate))
            assert dropped.float().mean().item() == pytest.approx(rate, abs=5 * spread / math.sqrt(12000))
            for feature in dropped.float().mean(dim=0).tolist():
                assert feature == pytest.approx(rate, abs=5 * spread / math.sqrt(750))
            for name, x in inputs.items():
                kept = x != 0
                assert x[kept].numpy() == pytest.approx((whole[name][kept] / (1 - rate)).numpy(), rel=1e-5)

    def test_masks_are_drawn_anew(self) -> None:
        """By modality, step and epoch: two independent masks agree in half of their 3,000 elements."""
        masks = [x[:, :4] == 0 for inputs, _ in self._inputs(0.5, steps=4) for x in inputs.values()]
        assert len(masks) == 12
        for i, one in enumerate(masks):
            for other in masks[:i]:
                assert (one == other).float().mean().item() == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(3000))

    def test_whole_features_are_to_be_reconstructed(self) -> None:
        h, taken = replace(_H, feature_dropout=0.5), []
        data = _Planted()
        run = _run("Gen", h, data=data)
        head, heads = _initial_heads(run, "Gen", h)
        run.head.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
        measured = run.run_epoch(max_steps=1)
        whole = {name: x[data.asked[0]] for name, x in data.features.items()}
        expected = reconstruction_loss(heads.reconstruct(head(taken[0])), whole)
        assert measured["Gen"] == pytest.approx(expected.item(), rel=1e-5)

    def test_features_are_left_alone(self) -> None:
        data = _Planted()
        before = _copy(data.features)
        _run("ConCluGen", replace(_H, feature_dropout=0.5), data=data).run_epoch()
        assert _equal(data.features, before)


class TestLearningRate:
    def _rates(self, run: Pretraining, epochs: int) -> list[list[float]]:
        """The optimizer's learning rate at each step of each epoch."""
        rates: list[list[float]] = []

        def note(optimizer: AdamW) -> None:
            rates[-1].append(optimizer.lr)
            step(optimizer)

        step = AdamW.step
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(AdamW, "step", note)
            for _ in range(epochs):
                rates.append([])
                run.run_epoch()
        return rates

    def test_warmup_then_cosine_over_the_rest_of_the_budget(self) -> None:
        """Five epochs from a tenth; then (1 + cos(pi p / 4)) / 2 for p = 0..3, falling to 0 where the budget ends."""
        rates = self._rates(_run("Gen", replace(_H, lr=0.02, warmup_epochs=5), epochs=9), 9)
        root = math.sqrt(2)
        factors = [0.1, 0.28, 0.46, 0.64, 0.82, 1, (2 + root) / 4, 0.5, (2 - root) / 4]
        assert rates == [pytest.approx([0.02 * factor] * 4) for factor in factors]

    def test_without_warmup(self) -> None:
        rates = self._rates(_run("Gen", replace(_H, warmup_epochs=0), epochs=2), 2)
        assert [rate[0] for rate in rates] == pytest.approx([1e-2, 0.5e-2])

    def test_a_budget_that_ends_with_the_warmup(self) -> None:
        rates = self._rates(_run("Gen", replace(_H, warmup_epochs=2), epochs=2), 2)
        assert [rate[0] for rate in rates] == pytest.approx([0.1e-2, 0.55e-2])

    def test_restarts_with_decay(self) -> None:
        """Cycles of two epochs: each has (1 + cos 0) / 2 = 1 and (1 + cos(pi / 2)) / 2 = 1/2 of its peak."""
        h = replace(_H, restart_epochs=2, restart_decay=0.4)
        rates = self._rates(_run("Gen", h, epochs=8), 8)
        factors = [0.1, 0.55, 1, 0.5, 0.4, 0.2, 0.16, 0.08]
        assert [rate[0] for rate in rates] == pytest.approx([1e-2 * factor for factor in factors])

    def test_a_resumed_run_goes_on_in_the_schedule(self) -> None:
        first, rest = _run("Gen", epochs=5), _run("Gen", epochs=5)
        first.run_epoch()
        first.run_epoch()
        rest.load_state(_copy(first.state()))
        assert [rate[0] for rate in self._rates(rest, 3)] == pytest.approx([1e-2, 0.75e-2, 0.25e-2])


class TestClustering:
    @pytest.mark.parametrize("start", [0, 1, 3])
    @pytest.mark.parametrize("name", _CLUSTERED)
    def test_starts_at_its_epoch(self, name: str, start: int, recorded: _RecordedKMeans) -> None:
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

    def test_alone_it_trains_nothing_before(self) -> None:
        run = _run("Clu", replace(_H, kmeans_start_epoch=1))
        head, cluster = _copy(run.head.state_dict()), run.state()["modules.heads.cluster.weight"].clone()
        assert run.run_epoch() == {}
        assert _equal(run.head.state_dict(), head)
        assert torch.equal(run.state()["modules.heads.cluster.weight"], cluster)
        assert run.epoch == 1
        run.run_epoch()
        assert not _equal(run.head.state_dict(), head)
        assert not torch.equal(run.state()["modules.heads.cluster.weight"], cluster)

    def test_before_it_the_run_is_that_of_the_other_losses(self) -> None:
        """The total is the mean over the active losses: one that has not begun is not in its denominator."""
        with_clu, without = _run("ConClu", replace(_H, kmeans_start_epoch=2)), _run("Con")
        for _ in range(2):
            assert with_clu.run_epoch() == without.run_epoch()
        assert _equal(with_clu.head.state_dict(), without.head.state_dict())
        with_clu.run_epoch()
        without.run_epoch()
        assert not _equal(with_clu.head.state_dict(), without.head.state_dict())

    @pytest.mark.parametrize("size", [0, 1, 2, 3, 4])
    def test_queue_is_used_once_full_and_emptied_each_epoch(self, size: int, recorded: _RecordedKMeans) -> None:
        """Four steps of 15 rows: steps before number ``size`` see their own batch, later ones ``size`` batches more."""
        run = _run("ConClu", replace(_H, kmeans_queue_size=size))
        for _ in range(2):
            run.run_epoch()
        seen = [x for x, *_ in recorded.calls]
        assert [len(x) for x in seen] == [15 * (size + 1) if step >= size else 15 for step in range(4)] * 2
        own = [x[-15:] for x in seen]
        for epoch in range(2):
            for step in range(size, 4):
                number = 4 * epoch + step
                assert torch.equal(seen[number], torch.cat(own[number - size : number + 1]))

    @pytest.mark.parametrize(("thinning", "kept"), [(1, 15), (2, 8), (4, 4), (99, 1)])
    def test_queue_is_thinned_and_the_current_batch_is_not(
        self, thinning: int, kept: int, recorded: _RecordedKMeans
    ) -> None:
        _run("ConClu", replace(_H, kmeans_queue_size=2, kmeans_queue_thinning=thinning)).run_epoch()
        seen = [x for x, *_ in recorded.calls]
        assert [len(x) for x in seen] == [15, 15, 15 + 2 * kept, 15 + 2 * kept]
        own = [x[-15:] for x in seen]
        assert torch.equal(seen[3], torch.cat([own[1][::thinning], own[2][::thinning], own[3]]))

    @pytest.mark.parametrize("start", [0, 2])
    def test_warm_start(self, start: int, recorded: _RecordedKMeans) -> None:
        """Each step begins where the last one ended, the first one of the run from random points."""
        run = _run("ConClu", replace(_H, kmeans_start_epoch=start, kmeans_iterations=3))
        for _ in range(start + 2):
            run.run_epoch()
        (first, _), *later = recorded.starts
        assert first is None
        ends = [centroids for *_, (centroids, _) in recorded.calls]
        assert all(torch.equal(initial, end) for (initial, _), end in zip(later, ends, strict=False))
        assert {iterations for _, iterations in recorded.starts} == {3}

    def test_without_warm_start_every_step_begins_anew(self, recorded: _RecordedKMeans) -> None:
        run = _run("ConClu", replace(_H, kmeans_warm_start=False, kmeans_iterations=100))
        run.run_epoch()
        assert recorded.starts == [(None, 100)] * 4
        assert "centroids" not in run.state()

    def test_clusters_are_of_the_detached_mean_of_all_modalities(self, recorded: _RecordedKMeans) -> None:
        data = _Planted()
        run = _run("Clu", replace(_H, num_clusters=5), data=data)
        head, heads = _initial_heads(run, "Clu", replace(_H, num_clusters=5))
        run.run_epoch(max_steps=1)
        ((seen, k, _, _),) = recorded.calls
        logits = heads.cluster_logits(heads.project(head({n: x[data.asked[0]] for n, x in data.features.items()})))
        assert (k, seen.shape, seen.requires_grad) == (5, (15, 5), False)
        assert seen.numpy() == pytest.approx(torch.stack(list(logits.values())).mean(dim=0).detach().numpy(), abs=1e-5)

    def test_each_step_has_its_own_seed(self, recorded: _RecordedKMeans) -> None:
        for seed in (0, 1):
            run = _run("Clu", seed=seed)
            run.run_epoch()
            run.run_epoch()
        assert len({seed for _, _, seed, _ in recorded.calls}) == 16


class TestFinished:
    def _finished(self, run: Pretraining, totals: list[float], monkeypatch: pytest.MonkeyPatch) -> list[bool]:
        """Whether the run is finished after each epoch, if epochs have these totals."""
        finished = []
        for total in totals:
            monkeypatch.setattr(run, "_step", lambda *_, total=total, **__: run._sums.add_(total))
            run.run_epoch()
            finished.append(run.finished)
        return finished

    def _conclu(self, patience: int, epochs: int = 99) -> Pretraining:
        return _run("ConClu", replace(_H, kmeans_start_epoch=2, early_stop_epochs=patience), epochs=epochs)

    def test_when_the_budget_is_spent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self._finished(self._conclu(0, epochs=5), [1.0] * 5, monkeypatch) == [False] * 4 + [True]

    @pytest.mark.parametrize(
        ("patience", "totals", "stop"),
        [
            (0, [9, 9, 5, 5, 5, 5, 5], None),
            (1, [9, 9, 5, 4, 4], 5),
            (2, [9, 9, 5, 6, 4, 5, 4.5], 7),
            (2, [9, 9, 5, 6, 4.9, 5, 4.8], None),
            (3, [9, 9, 5, 6, 7, 8], 6),
            (1, [1, 2, 5, 4], None),  # clustering raised the total: it is compared with totals that include it
            (1, [1, 2, 5, 6], 4),
        ],
    )
    def test_when_the_total_stops_improving(
        self, patience: int, totals: list[float], stop: int | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Epochs before clustering sets in do not count."""
        expected = [stop is not None and epoch >= stop for epoch in range(1, len(totals) + 1)]
        assert self._finished(self._conclu(patience), totals, monkeypatch) == expected

    def test_a_resumed_run_goes_on_counting(self, monkeypatch: pytest.MonkeyPatch) -> None:
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
    def test_equals_the_head_side_by_side(self) -> None:
        data, head = _Planted(), build_head(_WIDTHS, _H, 0)
        rows = torch.tensor([5, 0, 0, 59])
        representations = represent(head, data, rows)
        assert (representations.shape, representations.requires_grad) == ((4, 48), False)
        with torch.no_grad():
            expected = torch.cat(list(head({name: x[rows] for name, x in data.features.items()}).values()), dim=1)
        assert torch.equal(representations, expected)

    @pytest.mark.parametrize("chunk", [1, 7, 20, 1000])
    def test_chunks_do_not_matter(self, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
        data, head = _Planted(), build_head(_WIDTHS, _H, 0)
        expected = represent(head, data, torch.arange(20))
        monkeypatch.setattr(pretrain, "_CHUNK", chunk)
        assert represent(head, data, torch.arange(20)).numpy() == pytest.approx(expected.numpy(), abs=1e-6)

    def test_features_are_not_dropped(self) -> None:
        run = _run("Gen", replace(_H, feature_dropout=0.9))
        run.run_epoch()
        first, again = (represent(run.head, _Planted(), torch.arange(60)) for _ in range(2))
        assert torch.equal(first, again)
        assert run.run_epoch()["Gen"] > 0
