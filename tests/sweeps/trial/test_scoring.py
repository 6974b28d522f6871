"""A probe is fitted to the label draws alone."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from conclugen.evaluation.draws import LabelledDraws, draw_labels, draw_selection
from conclugen.evaluation.probe import Instrument, fit_probes
from conclugen.features.batches import StandardisedSplit
from conclugen.features.importing import import_arrays
from conclugen.features.synthesis import SyntheticSet, write_synthetic
from conclugen.hyperparameters import Hyperparameters
from conclugen.labels import LabelBudget
from conclugen.training.pretrain import build_head, represent
from sweeps.config import load_config
from sweeps.folder.layout import SweepFolder
from sweeps.trial import TrialRunner
from sweeps.trial.scoring import LabelChoice

WIDTHS = {"video": 7, "audio": 5, "text": 4}
HARD = 0.7  # signal, so that another probe predicts something else
SEED = 7
TOLERANCE = 5e-3
"""How far two probabilities may be apart: fits stop a little above their optimum."""
INSTRUMENTS: Mapping[str, Instrument] = {"": "logistic", "knn": "knn", "paper": "paper"}


@pytest.fixture
def check(write_config: Callable[..., Path], tmp_path: Path) -> Callable[..., None]:
    """Compare the probes with probes on representations of the whole split, and check which rows are encoded."""

    def compare(folder: Path, budget: LabelBudget, *, padded: bool = False) -> None:
        features = {"pretrain": str(folder), "downstream": {"set": str(folder)}}
        config = load_config(write_config(features=features, probe={"also": ["knn", "paper"]}))
        scoring = TrialRunner(config, SweepFolder(tmp_path / "sweep"), torch.device("cpu")).scoring
        ((division,),) = scoring.search_sets.values()
        train, val = (division.parts[part].only(list(WIDTHS)) for part in ("train", "val"))
        head = build_head(WIDTHS, Hyperparameters(representation_dim=16), SEED)
        encoded = list[Tensor]()

        def encode(split: StandardisedSplit, rows: Tensor) -> Tensor:
            if split.split is train.split:
                encoded.append(rows)
            return represent(head, split, rows, "concat")

        draws = draw_labels(division.labels("train"), budget, 3, SEED)
        assert bool((draws < 0).any()) == padded
        selection = draw_selection(division.labels("val"), budget, len(draws), SEED, "budget")
        fitted = scoring.probe(encode, list(WIDTHS), alone=False)(division, LabelChoice(draws, selection), SEED)
        assert list(fitted) == ["", "knn", "paper"]

        (rows,) = encoded
        assert rows.tolist() == train.versions[draws[draws >= 0]].unique().tolist()
        inputs = encode(val, division.rows("val"))
        whole = LabelledDraws(
            x=encode(train, torch.arange(len(train))),
            labels=division.labels("train"),
            draws=draws,
            versions=train.versions,
            validation_x=inputs,
            validation_labels=division.labels("val"),
            selection=selection,
            classes=division.classes,
        )
        for name, classifiers in fitted.items():
            expected = fit_probes(INSTRUMENTS[name], whole, seed=SEED)
            answers = classifiers.answer("val")
            expected_answers = expected.answer(inputs)
            assert list(classifiers.chosen) == list(expected.chosen)
            assert torch.equal(answers.predicted, expected_answers.predicted)
            near = TOLERANCE if INSTRUMENTS[name] == "logistic" else 1e-5
            torch.testing.assert_close(answers.probabilities, expected_answers.probabilities, rtol=0, atol=near)

    return compare


@pytest.mark.parametrize("budget", [LabelBudget(per_class=2), LabelBudget(fraction=0.1), LabelBudget()], ids=str)
@pytest.mark.parametrize("augmented", [0, 2])
def test_only_samples_in_draws_are_encoded_and_the_probe_is_the_same(
    check: Callable[..., None], tmp_path: Path, augmented: int, budget: LabelBudget
) -> None:
    synthetic = SyntheticSet(
        samples=400, widths=WIDTHS, classes=3, labelled=True, signal=dict.fromkeys(WIDTHS, HARD), augmented=augmented
    )
    write_synthetic(synthetic, tmp_path / "set")
    check(tmp_path / "set", budget)


def test_only_samples_in_draws_are_encoded_where_draws_differ_in_size(
    check: Callable[..., None], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (200, 3))
    features = {name: HARD * labels.sum(axis=1)[:, None] + rng.normal(size=(200, w)) for name, w in WIDTHS.items()}
    split = np.array(["train", "val", "test"])[np.arange(200) % 3]
    sources = dict.fromkeys(WIDTHS, "planted")
    import_arrays(features, tmp_path / "set", labels=labels, class_names=["a", "b", "c"], split=split, sources=sources)
    check(tmp_path / "set", LabelBudget(per_class=2), padded=True)
