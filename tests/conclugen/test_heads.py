import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conclugen.heads import GatedEmbeddingUnit, PretrainingHeads, RepresentationHeads, fuse
from conclugen.hyperparameters import Hyperparameters
from conclugen.subsets import SUBSETS, Loss

_WIDTHS = {"video": 7, "audio": 5, "text": 4}
_H = Hyperparameters(representation_dim=16, projection_dim=6, num_clusters=3, reconstruction_dim=9)


def _features(batch: int = 8, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(batch, width, generator=generator) for name, width in _WIDTHS.items()}


def _representations(batch: int = 8, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(batch, 16, generator=generator) for name in _WIDTHS}


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def _linear(layer: nn.Module, x: np.ndarray) -> np.ndarray:
    """Return W x + b, row by row."""
    weight, bias = _array(layer.weight), _array(layer.bias)
    return np.array([[sum(w * v for w, v in zip(row, sample, strict=True)) for row in weight] for sample in x]) + bias


def _gated_unit(unit: nn.Module, x: np.ndarray) -> np.ndarray:
    u = np.maximum(_linear(unit.input, x), 0)
    g = u / (1 + np.exp(-_linear(unit.gate, u)))
    return np.maximum(_linear(unit.output, g), 0)


def _heads(name: str, **changes: object) -> PretrainingHeads:
    torch.manual_seed(0)
    return PretrainingHeads(_WIDTHS, SUBSETS[name], Hyperparameters(**{**vars(_H), **changes}))


class TestGatedEmbeddingUnit:
    def test_the_unit_with_weights_set_by_hand(self) -> None:
        """x = (1, 2). u = relu(W1 x) = relu(1, -2) = (1, 0).

        The gate has zero weights and biases (log 3, 0): sigmoid = (3/4, 1/2), so g = (3/4, 0).
        W3 g + b3 = (2 * 3/4 + 1/2, -3/4 + 1/4) = (2, -1/2), so z = (2, 0).
        """
        unit = GatedEmbeddingUnit(2, 2)
        unit.load_state_dict(
            {
                "input.weight": torch.tensor([[1.0, 0.0], [0.0, -1.0]]),
                "input.bias": torch.zeros(2),
                "gate.weight": torch.zeros(2, 2),
                "gate.bias": torch.tensor([math.log(3), 0.0]),
                "output.weight": torch.tensor([[2.0, 0.0], [-1.0, 0.0]]),
                "output.bias": torch.tensor([0.5, 0.25]),
            }
        )
        assert unit(torch.tensor([[1.0, 2.0]]))[0].tolist() == pytest.approx([2.0, 0.0])

    @pytest.mark.parametrize(("d", "r"), [(3, 5), (5, 3), (1, 1)])
    def test_the_unit_equals_the_formula(self, d: int, r: int) -> None:
        torch.manual_seed(d)
        unit, x = GatedEmbeddingUnit(d, r), torch.randn(6, d)
        assert _array(unit(x)) == pytest.approx(_gated_unit(unit, _array(x)), abs=1e-6)

    def test_the_unit_has_three_linear_layers(self) -> None:
        unit = GatedEmbeddingUnit(3, 5)
        assert {name: tuple(value.shape) for name, value in unit.state_dict().items()} == {
            "input.weight": (5, 3),
            "input.bias": (5,),
            "gate.weight": (5, 5),
            "gate.bias": (5,),
            "output.weight": (5, 5),
            "output.bias": (5,),
        }


class TestRepresentationHeads:
    @pytest.mark.parametrize("lift", [False, True])
    def test_representations_keep_the_modality_order(self, lift: bool) -> None:
        representations = RepresentationHeads(_WIDTHS, 16, lift_audio=lift)(_features())
        assert list(representations) == ["video", "audio", "text"]
        assert {tuple(z.shape) for z in representations.values()} == {(8, 16)}

    def test_each_modality_has_its_own_unit(self) -> None:
        head, features = RepresentationHeads(_WIDTHS, 16), _features()
        for name, z in head(features).items():
            assert _array(z) == pytest.approx(_gated_unit(head.heads[name], _array(features[name])), abs=1e-6)

    def test_a_linear_layer_lifts_audio(self) -> None:
        """The gated unit works at width d_audio; a linear layer follows, whose outputs keep their sign."""
        torch.manual_seed(0)
        head, features = RepresentationHeads(_WIDTHS, 16, lift_audio=True), _features()
        unit, lift = head.heads["audio"]
        assert (unit.input.in_features, unit.output.out_features, lift.out_features) == (5, 5, 16)
        representations = head(features)
        expected = _linear(lift, _gated_unit(unit, _array(features["audio"])))
        assert _array(representations["audio"]) == pytest.approx(expected, abs=1e-6)
        assert representations["audio"].min() < 0
        assert min(representations["video"].min(), representations["text"].min()) >= 0

    def test_only_audio_is_lifted(self) -> None:
        head = RepresentationHeads({"video": 7, "text": 4}, 16, lift_audio=True)
        assert all(isinstance(unit, GatedEmbeddingUnit) for unit in head.heads.values())

    def test_representation_heads_have_the_expected_parameters(self) -> None:
        """Per modality, the first layer has d R + R weights and biases, and each of the other two R R + R."""
        expected = sum(width * 16 + 16 + 2 * (16 * 16 + 16) for width in _WIDTHS.values())
        assert sum(p.numel() for p in RepresentationHeads(_WIDTHS, 16).parameters()) == expected


class TestPretrainingHeads:
    @pytest.mark.parametrize(
        ("name", "built"),
        [
            ("Con", {"projection"}),
            ("Clu", {"projection", "cluster"}),
            ("Gen", {"reconstruction"}),
            ("ConClu", {"projection", "cluster"}),
            ("ConGen", {"projection", "reconstruction"}),
            ("CluGen", {"projection", "cluster", "reconstruction"}),
            ("ConCluGen", {"projection", "cluster", "reconstruction"}),
        ],
    )
    def test_only_what_the_subset_uses_is_built(self, name: str, built: set[str]) -> None:
        heads = _heads(name)
        assert {part for part, _ in heads.named_children()} == built
        calls = {
            "projection": lambda: heads.project(_representations()),
            "cluster": lambda: heads.cluster_logits({"video": torch.zeros(8, 6)}),
            "reconstruction": lambda: heads.reconstruct(_representations()),
        }
        for part, call in calls.items():
            if part in built:
                call()
            else:
                with pytest.raises(ValueError, match=f"no {part} head"):
                    call()

    def test_projection_equals_the_formula(self) -> None:
        """Per modality: linear, BatchNorm (biased variance, epsilon 1e-5, identity affine), ReLU, linear, ReLU."""
        heads, representations = _heads("Con"), _representations()
        first, _, _, second, _ = heads.projection
        for name, p in heads.project(representations).items():
            hidden = _linear(first, _array(representations[name]))
            normal = (hidden - hidden.mean(axis=0)) / np.sqrt(hidden.var(axis=0) + 1e-5)
            expected = np.maximum(_linear(second, np.maximum(normal, 0)), 0)
            assert _array(p) == pytest.approx(expected, abs=1e-5)

    def test_batch_statistics_are_per_modality(self) -> None:
        heads, representations = _heads("Con"), _representations()
        before = heads.project(representations)["video"]
        shifted = {**representations, "audio": 100 * representations["audio"] + 7}
        assert torch.equal(heads.project(shifted)["video"], before)

    @pytest.mark.parametrize(("r", "narrow"), [(16, 2), (24, 3), (23, 2), (8, 1), (4, 1)])
    def test_projection_narrows_to_an_eighth(self, r: int, narrow: int) -> None:
        projection = _heads("Con", representation_dim=r).projection
        assert (projection[0].in_features, projection[0].out_features) == (r, narrow)
        assert (projection[3].in_features, projection[3].out_features) == (narrow, 6)

    def test_cluster_logits_are_linear_in_the_unnormalised_projections(self) -> None:
        heads = _heads("Clu")
        p = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
        logits = heads.cluster_logits({"video": p, "text": 2 * p})
        expected = [
            [sum(w * v for w, v in zip(row, x, strict=True)) for row in _array(heads.cluster.weight)] for x in _array(p)
        ]
        assert _array(logits["video"]) == pytest.approx(np.array(expected), abs=1e-6)
        assert torch.equal(logits["text"], 2 * logits["video"])
        assert heads.cluster.bias is None
        assert logits["video"].shape == (8, 3)

    @pytest.mark.parametrize("relu", [True, False])
    def test_reconstruction_equals_the_formula(self, relu: bool) -> None:
        heads, representations = _heads("Gen", reconstruction_relu=relu), _representations()
        for name, reconstruction in heads.reconstruct(representations).items():
            first, _, second, _ = heads.reconstruction[name]
            linear = _linear(second, np.maximum(_linear(first, _array(representations[name])), 0))
            assert (linear < 0).any()
            assert _array(reconstruction) == pytest.approx(np.maximum(linear, 0) if relu else linear, abs=1e-6)
            assert reconstruction.shape == (8, _WIDTHS[name])

    def test_pretraining_heads_have_the_expected_parameters(self) -> None:
        """R = 16, R//8 = 2, P = 6, K = 3, D = 9; the BatchNorm has a weight and a bias of width 2."""
        projection = (16 * 2 + 2) + 2 * 2 + (2 * 6 + 6)
        reconstruction = sum((16 * 9 + 9) + (9 * width + width) for width in _WIDTHS.values())
        assert sum(p.numel() for p in _heads("ConCluGen").parameters()) == projection + 6 * 3 + reconstruction

    @pytest.mark.parametrize(
        ("modalities", "name"), list(product([("video", "text"), ("audio",)], ["ConCluGen", "Gen"]))
    )
    def test_heads_are_built_for_fewer_modalities(self, modalities: tuple[str, ...], name: str) -> None:
        heads = PretrainingHeads({m: _WIDTHS[m] for m in modalities}, SUBSETS[name], _H)
        assert tuple(heads.reconstruct({m: torch.zeros(2, 16) for m in modalities})) == modalities
        assert (Loss.CLU in SUBSETS[name]) == (heads.cluster is not None)


_PARTS = {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([[3.0, 6.0]])}


class TestFuse:
    @pytest.mark.parametrize(
        ("fusion", "expected"), [("concat", [1, 2, 3, 6]), ("mean", [2, 4]), ("a", [1, 2]), ("b", [3, 6])]
    )
    def test_fusions_by_hand(self, fusion: str, expected: list[float]) -> None:
        assert fuse(_PARTS, fusion).tolist() == [expected]

    def test_an_unknown_fusion_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"'concat', 'mean' or one of \['a', 'b'\], got 'sum'"):
            fuse(_PARTS, "sum")

    def test_the_mean_of_different_widths_is_refused(self) -> None:
        with pytest.raises(ValueError, match="one width"):
            fuse({"a": torch.zeros(1, 2), "b": torch.zeros(1, 3)}, "mean")


class TestGaps:
    """Rows that lack a modality make no batch statistics."""

    def test_projections_are_those_of_the_rows_that_have_the_modality(self) -> None:
        heads, alone = _heads("Con").double(), _heads("Con").double()
        z = {name: x.double() for name, x in _representations().items()}
        present = {name: torch.arange(8) % 4 != number for number, name in enumerate(_WIDTHS)}
        masked = heads.project(z, present)
        plain = alone.project({name: x[present[name]] for name, x in z.items()})
        for name, x in plain.items():
            torch.testing.assert_close(masked[name][present[name]], x)
        ours, reference = heads.state_dict(), alone.state_dict()
        for name, value in ours.items():
            torch.testing.assert_close(value, reference[name])

    def test_a_modality_that_no_row_has_leaves_the_statistics_as_they_are(self) -> None:
        heads = _heads("Con")
        before = {name: value.clone() for name, value in heads.state_dict().items()}
        z = {"video": _representations()["video"].requires_grad_()}
        projected = heads.project(z, {"video": torch.zeros(8, dtype=torch.bool)})["video"]
        projected.sum().backward()
        assert projected.isfinite().all()
        assert z["video"].grad is not None
        assert z["video"].grad.isfinite().all()
        assert all(torch.equal(value, before[name]) for name, value in heads.state_dict().items())

    def test_a_single_row_has_a_finite_projection(self) -> None:
        heads = _heads("Con")
        projected = heads.project({"video": _representations()["video"]}, {"video": torch.arange(8) == 3})["video"]
        assert projected.isfinite().all()
        assert all(value.isfinite().all() for value in heads.state_dict().values())
