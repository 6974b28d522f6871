"""What a probe is fitted to."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from conclugen.batches import StandardisedSplit
from conclugen.labels import LabelBudget
from conclugen.probe import draw_labels, fit_probes
from conclugen.synthesis import SyntheticSet, write_synthetic
from sweeps.config import load_config
from sweeps.plan import SweepFolder
from sweeps.trial import TrialRunner

SEED = 7


@pytest.mark.parametrize("budget", [LabelBudget(per_class=2), LabelBudget(fraction=0.1), LabelBudget()], ids=str)
@pytest.mark.parametrize("augmented", [0, 2])
def test_what_no_draw_holds_is_not_encoded_and_the_probe_is_the_same(
    write_config: Callable[..., Path], tmp_path: Path, augmented: int, budget: LabelBudget
) -> None:
    widths = {"video": 7, "audio": 5, "text": 4}
    hard = dict.fromkeys(widths, 0.7)  # so that another probe predicts something else
    made = SyntheticSet(samples=400, widths=widths, classes=3, labelled=True, signal=hard, augmented=augmented, seed=1)
    write_synthetic(made, tmp_path / "made")
    features = {"pretrain": str(tmp_path / "made"), "downstream": {"made": str(tmp_path / "made")}}
    config = load_config(write_config(features=features))
    scoring = TrialRunner(config, SweepFolder(tmp_path / "sweep"), torch.device("cpu"))._scoring
    ((division,),) = scoring._search_sets.values()
    train, val = (division.parts[part].only(list(widths)) for part in ("train", "val"))
    encoded = list[Tensor]()

    def encode(split: StandardisedSplit, rows: Tensor) -> Tensor:
        if split.split is train.split:
            encoded.append(rows)
        return scoring.raw(split, rows)

    draws = draw_labels(division.labels("train"), budget, 3, SEED)
    found = scoring.probed(encode, list(widths))(division, draws, SEED)("val")

    (rows,) = encoded
    assert rows.tolist() == train.versions[draws.flatten()].unique().tolist()
    inputs = scoring.raw(val, division.rows("val"))
    everything = scoring.raw(train, torch.arange(len(train)))
    expected = fit_probes(
        everything, division.labels("train"), draws, (inputs, division.labels("val")), division.classes,
        scoring._probe, SEED, train.versions,
    )  # fmt: skip
    assert torch.equal(found, expected.predict(inputs))
