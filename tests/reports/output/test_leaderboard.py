import math

import pandas as pd

from reports.output.leaderboard import leaderboard
from reports.output.table import Cell, Table


def of(pairs: list[tuple[object, ...]], **scores: float) -> Table:
    means = pd.DataFrame(
        [
            {"dataset": "meld", "metric": "accuracy", "method": method, "mean": mean, "n_seeds": 3}
            for method, mean in scores.items()
        ]
    )
    columns = [
        "dataset",
        "metric",
        "first",
        "second",
        "difference",
        "low",
        "high",
        "verdict",
        "more_seeds",
        "more_searches",
    ]
    tests = pd.DataFrame([("meld", "accuracy", *pair) for pair in pairs], columns=columns)
    ranges = means.assign(low=means["mean"] - 0.1, high=means["mean"] + 0.1).head(1)
    return leaderboard(means, ranges, tests, "weighted_f1", {("meld", "Con"): ("s: confirm-Con-00000",)})


def test_methods_are_ranked_with_interval_and_records() -> None:
    table = of([], Con=0.5, Clu=0.7)
    assert table.shown["method"].tolist() == ["Clu", "Con"]
    assert table.shown["score"].tolist() == [Cell("0.700", "best"), Cell("0.500", "plain", ("s: confirm-Con-00000",))]
    assert table.shown["95 % interval"].tolist() == ["–", "0.400 to 0.600"]
    assert table.shown["verdict"].tolist() == ["best", "not compared"]


def test_the_verdict_is_that_of_the_pair_with_the_best_in_either_order() -> None:
    pairs = [
        ("Clu", "Con", 0.2, 0.1, 0.3, "settled", 0.0, 0.0),
        ("Gen", "Clu", -0.004, -0.008, 0.002, "equal", 0.0, 0.0),
        ("Clu", "ConClu", 0.1, -0.1, 0.3, "open", 4.0, 2.0),
        ("ConGen", "Clu", -0.15, math.nan, math.nan, "open", math.nan, math.nan),
        ("ConCluGen", "Clu", 0.001, -0.2, 0.2, "open", math.inf, math.inf),
    ]
    table = of(pairs, Clu=0.7, Gen=0.696, ConCluGen=0.69, ConClu=0.6, ConGen=0.55, Con=0.5)
    assert dict(zip(table.shown["method"], table.shown["verdict"], strict=True)) == {
        "Clu": "best",
        "Gen": "equal",
        "ConCluGen": "open: more test samples",
        "ConClu": "open: about 4 more seeds or 2 more searches",
        "ConGen": "open",
        "Con": "settled: worse",
    }
    assert table.shown["behind the best"].tolist() == [
        "–",
        "0.004 (−0.002 to 0.008)",
        "−0.001 (−0.200 to 0.200)",
        "0.100 (−0.100 to 0.300)",
        "0.150",
        "0.200 (0.100 to 0.300)",
    ]


def test_methods_on_fewer_modalities_and_without_a_result_are_left_out() -> None:
    table = of([], **{"Con": 0.5, "Con[video]": 0.9, "Gen": math.nan})
    assert table.shown["method"].tolist() == ["Con"]
    assert table.numbers.columns.tolist() == [
        *("dataset", "metric", "method", "mean", "low", "high", "n_seeds", "best", "difference", "verdict"),
    ]
