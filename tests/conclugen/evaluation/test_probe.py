"""The instruments by name, and the contract of each of them."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from conclugen.evaluation.classification import ClassWeights
from conclugen.evaluation.draws import LabelledDraws, draw_labels, draw_selection
from conclugen.evaluation.logistic import BRIEF, fit_logistic_probes
from conclugen.evaluation.neighbours import fit_nearest_neighbours
from conclugen.evaluation.paper_probe import PaperSettings, fit_paper_probes
from conclugen.evaluation.probe import Instrument, fit_probes
from conclugen.labels import LabelBudget

_PAPER = PaperSettings(epochs=60)


def _blobs(n: int, seed: int, *, multi_label: bool) -> tuple[Tensor, Tensor]:
    """Return classes that lie so far apart that every instrument recognises them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    present = torch.nn.functional.one_hot(labels, 3)
    if multi_label:
        labels = present = (torch.rand(n, 3, generator=generator) < 0.4).long()
    return 8.0 * (present.float() - 0.4) @ torch.eye(3, 6) + torch.randn(n, 6, generator=generator), labels


def _data(*, multi_label: bool, weights: ClassWeights = "none") -> LabelledDraws:
    """Return three draws with versions and a selection; multi-label draws differ in size."""
    (x, labels), (validation_x, truth) = (_blobs(n, seed, multi_label=multi_label) for seed, n in enumerate((120, 60)))
    budget = LabelBudget(per_class=10)
    return LabelledDraws(
        x=torch.cat([x, x + 0.1]),
        labels=labels,
        draws=draw_labels(labels, budget, 3, seed=0),
        validation_x=validation_x,
        validation_labels=truth,
        classes="abc",
        selection=draw_selection(truth, budget, 3, 0, "budget"),
        versions=torch.arange(240).reshape(2, 120).T,
        class_weights=weights,
    )


@pytest.mark.parametrize("instrument", ["logistic", "knn", "paper"])
@pytest.mark.parametrize("multi_label", [False, True])
class TestEveryInstrument:
    @pytest.mark.parametrize("weights", ["none", "balanced"])
    def test_separate_classes_are_recognised(
        self, multi_label: bool, instrument: Instrument, weights: ClassWeights
    ) -> None:
        probes = fit_probes(instrument, _data(multi_label=multi_label, weights=weights), paper=_PAPER)
        at, truth = _blobs(90, 2, multi_label=multi_label)
        answers = probes.answer(at)
        assert len(probes.chosen) == 3
        assert answers.predicted.shape == (3, *truth.shape)
        assert answers.probabilities.shape == (3, 90, 3)
        assert answers.predicted.dtype == torch.int64
        assert (answers.predicted == truth).float().mean() > 0.9
        assert 0 <= answers.probabilities.min() <= answers.probabilities.max() <= 1 + 1e-6
        if not multi_label:
            torch.testing.assert_close(answers.probabilities.sum(dim=2), torch.ones(3, 90))

    def test_only_drawn_samples_and_selected_validation_labels_are_used(
        self, multi_label: bool, instrument: Instrument
    ) -> None:
        data = _data(multi_label=multi_label)
        x, labels, truth = data.x.clone(), data.labels.clone(), data.validation_labels.clone()
        outside = ~torch.isin(torch.arange(120), data.draws)
        x[data.versions[outside]] = 100.0
        labels[outside] = 1 - labels[outside].clamp(max=1)
        unselected = ~torch.isin(torch.arange(60), data.selection)
        truth[unselected] = 1 - truth[unselected].clamp(max=1)
        assert outside.any()
        assert unselected.any()
        spoiled = replace(data, x=x, labels=labels, validation_labels=truth)
        first, second = (fit_probes(instrument, each, paper=_PAPER) for each in (data, spoiled))
        assert first.chosen == second.chosen
        at, _ = _blobs(90, 2, multi_label=multi_label)
        assert torch.equal(first.answer(at).probabilities, second.answer(at).probabilities)

    def test_the_global_generator_is_left_alone(self, multi_label: bool, instrument: Instrument) -> None:
        state = torch.get_rng_state()
        fit_probes(instrument, _data(multi_label=multi_label), paper=_PAPER)
        assert torch.equal(torch.get_rng_state(), state)


def test_each_instrument_is_the_function_of_its_module() -> None:
    data = _data(multi_label=False)
    at, _ = _blobs(50, 2, multi_label=False)
    for ours, reference in (
        (fit_probes("logistic", data), fit_logistic_probes(data)),
        (fit_probes("logistic", data, precision=BRIEF), fit_logistic_probes(data, BRIEF)),
        (fit_probes("knn", data), fit_nearest_neighbours(data)),
        (fit_probes("paper", data, seed=3), fit_paper_probes(data, PaperSettings(), 3)),
        (fit_probes("paper", data, paper=_PAPER), fit_paper_probes(data, _PAPER, 0)),
    ):
        assert ours.chosen == reference.chosen
        assert torch.equal(ours.answer(at).probabilities, reference.answer(at).probabilities)


def test_only_the_papers_probe_depends_on_the_seed() -> None:
    data = _data(multi_label=False)
    at, _ = _blobs(50, 2, multi_label=False)
    for instrument, depends in (("logistic", False), ("knn", False), ("paper", True)):
        first, other = (fit_probes(instrument, data, seed=seed).answer(at).probabilities for seed in (0, 1))
        assert torch.equal(first, other) != depends
