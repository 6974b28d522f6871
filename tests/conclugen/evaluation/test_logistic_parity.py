"""The linear probe scores like scikit-learn's logistic regression on real features."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor

from conclugen.evaluation.draws import LabelledDraws, Selection, draw_labels, draw_selection
from conclugen.evaluation.logistic import STRENGTHS, fit_logistic_probes
from conclugen.features.batches import StandardisedSplit
from conclugen.features.digits import write_digits
from conclugen.features.shards import FeatureSet
from conclugen.heads import fuse
from conclugen.labels import LabelBudget

_DATA = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread, as more threads than processors make scikit-learn many times slower."""
    with threadpool_limits(1):
        yield


def _by_scikit_learn(data: LabelledDraws, at: Tensor, truth: Tensor) -> list[float]:
    """Return the weighted F1 of each draw with the C that is best on validation, the weakest penalty of ties."""
    scores = []
    for place, draw in enumerate(data.draws):
        selection = torch.arange(len(data.validation_labels)) if data.selection is None else data.selection[place]
        scaler = StandardScaler().fit(data.x[draw].double().numpy())
        train, validation, test = (scaler.transform(x.double().numpy()) for x in (data.x[draw], data.validation_x, at))
        candidates = []
        for strength in STRENGTHS:
            model = LogisticRegression(C=strength / train.shape[1], tol=1e-5, max_iter=20_000)
            model.fit(train, data.labels[draw].numpy())
            predicted = model.predict(validation)[selection]
            score = f1_score(data.validation_labels[selection].numpy(), predicted, average="weighted")
            candidates.append((score, strength, f1_score(truth.numpy(), model.predict(test), average="weighted")))
        scores.append(max(candidates)[2])
    return scores


def _compare(
    parts: Sequence[tuple[Tensor, Tensor]], classes: Sequence[str], per_class: int | None, selection: Selection
) -> None:
    """Check that the mean weighted F1 on test is within 0.003 of scikit-learn's, with equal draws, grid and choice."""
    train, validation, test = parts
    budget = LabelBudget(per_class=per_class)
    draws = draw_labels(train[1], budget, 5, seed=0)
    data = LabelledDraws(
        x=train[0],
        labels=train[1],
        draws=draws,
        validation_x=validation[0],
        validation_labels=validation[1],
        selection=draw_selection(validation[1], budget, len(draws), 0, selection),
        classes=classes,
    )
    predicted = fit_logistic_probes(data).answer(test[0]).predicted.numpy()
    ours = [f1_score(test[1].numpy(), row, average="weighted") for row in predicted]
    reference = _by_scikit_learn(data, *test)
    assert len(ours) == (1 if per_class is None else 5)
    assert np.mean(ours) == pytest.approx(np.mean(reference), abs=0.003)


_BUDGETS = pytest.mark.parametrize(
    ("per_class", "selection"), [(2, "budget"), (5, "validation"), (20, "budget"), (None, "budget")]
)


@pytest.mark.skipif(not _DATA.exists(), reason=f"{_DATA} does not exist")
@_BUDGETS
@pytest.mark.parametrize(
    ("name", "views"),
    [("handwritten", ("fou", "fac", "kar")), ("handwritten", ("fou", "zer", "mor")), ("mosi", ("text", "audio"))],
)
def test_real_features_score_like_scikit_learn(
    name: str, views: Sequence[str], per_class: int | None, selection: Selection
) -> None:
    file = np.load(_DATA / f"{name}.npz")
    x = np.concatenate([file[view] for view in views], axis=1).astype(np.float64)
    x = torch.from_numpy(StandardScaler().fit(x[file["split"] == "train"]).transform(x)).float()
    labels = torch.from_numpy(file["labels"])
    rows = [torch.from_numpy(file["split"] == part) for part in ("train", "val", "test")]
    _compare([(x[of_part], labels[of_part]) for of_part in rows], file["class_names"].tolist(), per_class, selection)


@_BUDGETS
def test_the_demos_features_score_like_scikit_learn(
    tmp_path: Path, per_class: int | None, selection: Selection
) -> None:
    write_digits(tmp_path / "digits")
    features = FeatureSet(tmp_path / "digits")
    parts = []
    for part in ("train", "val", "test"):
        split = features.split(part)
        data = StandardisedSplit(split, features.standardisation, list(features.manifest.widths), torch.device("cpu"))
        parts.append((fuse(data.batch(split.clean_rows), "concat"), split.labels[split.clean_rows]))
    _compare(parts, [str(digit) for digit in range(10)], per_class, selection)
