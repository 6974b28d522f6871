from itertools import chain, combinations

import pytest

from conclugen.subsets import SUBSETS, Loss


def test_subsets_have_the_order_of_the_papers_tables() -> None:
    assert list(SUBSETS) == ["Con", "Clu", "Gen", "ConClu", "ConGen", "CluGen", "ConCluGen"]


def test_every_combination_of_losses_is_a_subset() -> None:
    expected = chain.from_iterable(combinations(["Con", "Clu", "Gen"], size) for size in (1, 2, 3))
    assert sorted(SUBSETS.values()) == sorted(expected)


@pytest.mark.parametrize("name", SUBSETS)
def test_a_subsets_name_lists_its_losses(name: str) -> None:
    assert {loss for loss in Loss if loss.value in name} == set(SUBSETS[name])


def test_subsets_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        SUBSETS["None"] = ()  # type: ignore[index]
