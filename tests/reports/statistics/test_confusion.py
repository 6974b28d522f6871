import math

from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from reports.statistics.confusion import confusion
from sweeps.ledger import Predictions, Record
from tests.reports.records import config, record


def confirmed(method: str, *runs: Predictions) -> Record:
    """Return a confirmation run with these predictions on the set faces."""
    settings = config(features={"downstream": {"faces": "/somewhere"}})
    return record("confirm", method, 0, predictions=runs, config=settings)


def predictions(truth: list[int], predicted: list[int], **changes: object) -> Predictions:
    fields = {"dataset": "faces", "labels": "", "fold": 0, "draw": 0, "classes": ("joy", "fear", "calm")}
    return Predictions(**{**fields, "multi_label": False, "truth": truth, "predicted": predicted, **changes})


def test_counts_are_summed_over_runs_and_shares_are_of_the_true_class() -> None:
    records = [
        confirmed("Con", predictions([0, 0, 1], [0, 1, 1])),
        confirmed("Con", predictions([0, 0, 1], [0, 0, 0], draw=1), predictions([1], [2], labels="5")),
    ]
    frame = confusion([records])
    whole = frame[frame["dataset"] == "faces"].set_index(["truth", "predicted"])
    assert list(whole.index[:4]) == [("joy", "joy"), ("joy", "fear"), ("joy", "calm"), ("fear", "joy")]
    assert whole["count"].tolist() == [3, 1, 0, 1, 1, 0, 0, 0, 0]
    assert whole["share"].tolist()[:6] == [0.75, 0.25, 0, 0.5, 0.5, 0]
    assert all(math.isnan(share) for share in whole["share"].tolist()[6:])
    few = frame[frame["dataset"] == "faces@5"].set_index(["truth", "predicted"])
    assert few.loc[("fear", "calm"), "count"] == 1
    assert few["count"].sum() == 1


def test_each_label_of_a_multi_label_set_has_its_own_matrix() -> None:
    """The first sample is joy and not fear, and is predicted so. The second is fear, and nothing is predicted."""
    several = predictions([1, 0, 0, 1], [1, 0, 0, 0], classes=("joy", "fear"), multi_label=True)
    frame = confusion([[confirmed("Gen", several)]]).set_index(["truth", "predicted"])["count"]
    assert frame.to_dict() == {
        ("joy", "joy"): 1,
        ("joy", "not joy"): 0,
        ("not joy", "joy"): 0,
        ("not joy", "not joy"): 1,
        ("fear", "fear"): 0,
        ("fear", "not fear"): 1,
        ("not fear", "fear"): 0,
        ("not fear", "not fear"): 1,
    }


def test_methods_have_the_order_of_the_ablation_table() -> None:
    records = [confirmed(method, predictions([0], [0])) for method in ("Gen", "random_head", "Con", "raw_features")]
    assert list(dict.fromkeys(confusion([records])["method"])) == ["raw_features", "random_head", "Con", "Gen"]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=20))
def test_counts_equal_those_of_scikit_learn(outputs: list[tuple[int, int]]) -> None:
    truth, predicted = map(list, zip(*outputs, strict=True))
    counts = confusion([[confirmed("Con", predictions(truth, predicted))]])["count"].to_numpy().reshape(3, 3)
    assert (counts == confusion_matrix(truth, predicted, labels=range(3))).all()
