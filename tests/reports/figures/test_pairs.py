from reports.figures import style
from reports.figures.pairs import pair_matrix
from tests.reports.figures.frames import METRIC, flat, many_pairs, scores, some_pairs, some_scores


def drawn(metric: str = METRIC) -> list[dict[str, object]]:
    return flat(pair_matrix(some_pairs(), some_scores(), metric).static)


def test_every_planned_pair_on_all_modalities_has_a_verdict() -> None:
    verdicts = {(row["first"], row["second"]): row["verdict"] for row in drawn()}
    assert len(verdicts) == 6
    assert verdicts["raw_features", "random_head"] == "settled"
    assert verdicts["raw_features", "Con"] == "open"
    assert verdicts["Con", "Gen"] == "no result"


def test_methods_stand_in_the_order_of_their_scores() -> None:
    places = {row["first"]: row["first_place"] for row in drawn()} | {
        row["second"]: row["second_place"] for row in drawn()
    }
    assert sorted(places, key=lambda name: places[name]) == ["Con", "raw_features", "random_head", "Gen"]


def test_the_number_of_seeds_that_would_settle_a_pair_is_said() -> None:
    more = {(row["first"], row["second"]): row["more_seeds"] for row in drawn()}
    assert more["raw_features", "Con"] == "about 4"
    assert more["random_head", "Con"] == "no number of"
    assert more["raw_features", "random_head"] == ""


def test_each_pair_has_two_cells_with_opposite_signs() -> None:
    drawing = pair_matrix(some_pairs(), some_scores(), METRIC)
    svg = style.svg(drawing)
    for text in ("+0.112", "−0.112", "−0.238", "+0.238", "settled", "equal", "open", "no result"):
        assert f">{text}</text>" in svg, text


def test_a_matrix_of_forty_methods_fits_on_a_page() -> None:
    methods = [f"method {n}" for n in range(40)]
    table = scores(*(("faces", name, METRIC, 0.5, 0.4, 0.6, 0.01, 0.01, 3) for name in methods))
    svg = style.svg(pair_matrix(many_pairs(methods), table, METRIC))
    assert float(svg.partition('width="')[2].partition('"')[0]) < 560
