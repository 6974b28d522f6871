from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from conclugen.evaluation.draws import LabelledDraws, draw_labels, draw_selection
from conclugen.labels import LabelBudget
from conclugen.seeds import derive_seed


def _per_class(number: int) -> LabelBudget:
    return LabelBudget(per_class=number)


class TestDrawLabels:
    @settings(deadline=None)
    @given(
        labels=st.lists(st.integers(0, 4), min_size=1, max_size=40),
        per_class=st.integers(1, 12),
        draws=st.integers(1, 4),
        seed=st.integers(0, 2**31 - 1),
    )
    def test_a_draw_has_the_budget_of_each_class(
        self, labels: list[int], per_class: int, draws: int, seed: int
    ) -> None:
        chosen = draw_labels(torch.tensor(labels), _per_class(per_class), draws, seed)
        expected = {label: min(per_class, count) for label, count in Counter(labels).items()}
        assert chosen.shape == (draws, sum(expected.values()))
        for rows in chosen.tolist():
            assert len(set(rows)) == len(rows)
            assert Counter(labels[row] for row in rows) == expected

    def test_all_labels_take_every_sample_once(self) -> None:
        chosen = draw_labels(torch.tensor([2, 0, 1, 1]), LabelBudget(), 5, seed=0)
        assert chosen.tolist() == [[0, 1, 2, 3]]

    def test_draws_follow_the_seed(self) -> None:
        labels = torch.arange(300) % 3
        chosen = draw_labels(labels, _per_class(5), 3, seed=1)
        assert torch.equal(chosen, draw_labels(labels, _per_class(5), 3, seed=1))
        assert not torch.equal(chosen, draw_labels(labels, _per_class(5), 3, seed=2))

    def test_draws_differ_and_do_not_depend_on_their_number(self) -> None:
        labels = torch.arange(300) % 3
        chosen = draw_labels(labels, _per_class(5), 4, seed=1)
        assert len({tuple(sorted(rows)) for rows in chosen.tolist()}) == 4
        assert torch.equal(draw_labels(labels, _per_class(5), 2, seed=1), chosen[:2])

    def test_every_sample_can_be_drawn(self) -> None:
        """One of two samples per class is drawn; after 40 draws, one is missing with probability 2^-40."""
        chosen = draw_labels(torch.tensor([0, 0, 1, 1]), _per_class(1), 40, seed=0)
        assert set(chosen.flatten().tolist()) == {0, 1, 2, 3}

    def test_draws_leave_the_global_generator_alone(self) -> None:
        before = torch.get_rng_state()
        draw_labels(torch.arange(30) % 3, _per_class(2), 3, seed=1)
        assert torch.equal(torch.get_rng_state(), before)

    def test_draws_per_class_are_those_of_stored_results(self) -> None:
        """The seed and the order of samples never change, so stored results stay comparable."""
        labels = torch.arange(30) % 3
        generator = torch.Generator().manual_seed(derive_seed(7, "labels", 2, 1))
        order = torch.randperm(30, generator=generator)
        expected = torch.cat([order[labels[order] == c][:2] for c in range(3)])
        assert torch.equal(draw_labels(labels, _per_class(2), 2, seed=7)[1], expected)

    @settings(deadline=None)
    @given(
        labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
        fraction=st.floats(0.01, 0.99),
        draws=st.integers(1, 3),
        seed=st.integers(0, 2**31 - 1),
    )
    def test_a_fraction_is_drawn_from_each_class(
        self, labels: list[int], fraction: float, draws: int, seed: int
    ) -> None:
        chosen = draw_labels(torch.tensor(labels), LabelBudget(fraction=fraction), draws, seed)
        expected = {label: max(1, round(fraction * count)) for label, count in Counter(labels).items()}
        assert chosen.shape == (draws, sum(expected.values()))
        for rows in chosen.tolist():
            assert len(set(rows)) == len(rows)
            assert Counter(labels[row] for row in rows) == expected

    @settings(deadline=None)
    @given(
        labels=st.lists(st.tuples(*[st.integers(0, 1)] * 3), min_size=1, max_size=40),
        per_class=st.integers(1, 6),
        draws=st.integers(1, 4),
        seed=st.integers(0, 2**31 - 1),
    )
    def test_every_multi_label_class_gets_its_positives(
        self, labels: list[tuple[int, ...]], per_class: int, draws: int, seed: int
    ) -> None:
        table = torch.tensor(labels)
        if not table.any():
            with pytest.raises(ValueError, match="no sample has any label"):
                draw_labels(table, _per_class(per_class), draws, seed)
            return
        chosen = draw_labels(table, _per_class(per_class), draws, seed)
        assert len(chosen) == draws
        assert (chosen >= 0).any(dim=0).all()  # no column is padding alone
        needed = table.sum(dim=0).clamp(max=per_class)
        for row in chosen:
            samples = row[row >= 0]
            assert (row[len(samples) :] == -1).all()
            assert len(samples.unique()) == len(samples) <= needed.sum()
            assert (table[samples].sum(dim=0) >= needed).all()
            assert table[samples].any(dim=1).all()

    def test_multi_label_draws_take_no_more_than_they_need(self) -> None:
        """Exclusive labels are drawn like classes."""
        chosen = draw_labels(nn.functional.one_hot(torch.arange(30) % 3), _per_class(2), 5, seed=0)
        assert chosen.shape == (5, 6)
        assert (torch.bincount(chosen.flatten() % 3) == 10).all()

    def test_a_multi_label_fraction_is_drawn_from_all_samples(self) -> None:
        labels = torch.zeros(50, 4, dtype=torch.int64)
        labels[0] = 1
        chosen = draw_labels(labels, LabelBudget(fraction=0.1), 200, seed=0)
        assert chosen.shape == (200, 5)
        assert all(len(set(rows)) == 5 for rows in chosen.tolist())
        assert set(chosen.flatten().tolist()) == set(range(50))


class TestDrawSelection:
    @pytest.mark.parametrize("budget", [_per_class(3), LabelBudget(fraction=0.1), LabelBudget()])
    def test_every_validation_sample_may_choose_without_the_budget(self, budget: LabelBudget) -> None:
        assert draw_selection(torch.arange(60) % 3, budget, 4, 0, "validation") is None

    def test_every_validation_sample_may_choose_with_all_labels(self) -> None:
        assert draw_selection(torch.arange(60) % 3, LabelBudget(), 4, 0, "budget") is None

    @settings(deadline=None)
    @given(
        labels=st.lists(st.integers(0, 4), min_size=1, max_size=40),
        per_class=st.integers(1, 12),
        draws=st.integers(1, 4),
        seed=st.integers(0, 2**31 - 1),
    )
    def test_a_selection_has_as_many_labels_per_class_as_a_draw(
        self, labels: list[int], per_class: int, draws: int, seed: int
    ) -> None:
        chosen = draw_selection(torch.tensor(labels), _per_class(per_class), draws, seed, "budget")
        expected = {label: min(per_class, count) for label, count in Counter(labels).items()}
        assert chosen is not None
        assert chosen.shape == (draws, sum(expected.values()))
        for rows in chosen.tolist():
            assert len(set(rows)) == len(rows)
            assert Counter(labels[row] for row in rows) == expected

    def test_a_fraction_is_drawn_from_the_validation_samples(self) -> None:
        chosen = draw_selection(torch.arange(60) % 3, LabelBudget(fraction=0.2), 2, 0, "budget")
        assert chosen is not None
        assert chosen.shape == (2, 12)

    def test_short_multi_label_selections_end_in_padding(self) -> None:
        labels = (torch.rand(40, 3, generator=torch.Generator().manual_seed(0)) < 0.3).long()
        chosen = draw_selection(labels, _per_class(4), 8, 0, "budget")
        assert chosen is not None
        sizes = (chosen >= 0).sum(dim=1)
        assert len(sizes.unique()) > 1
        for rows, size in zip(chosen, sizes.tolist(), strict=True):
            assert (rows[size:] == -1).all()
            assert (labels[rows[:size]].sum(dim=0) >= 4).all()

    def test_selections_differ_from_the_training_draws(self) -> None:
        """Otherwise splits with the same labels in the same order would draw the same places."""
        labels = torch.arange(300) % 3
        selection, draws = (
            draw_selection(labels, _per_class(5), 3, 7, "budget"),
            draw_labels(labels, _per_class(5), 3, 7),
        )
        assert selection is not None
        assert not any(set(one.tolist()) == set(other.tolist()) for one in selection for other in draws)

    def test_selections_follow_the_seed_and_differ_between_draws(self) -> None:
        labels = torch.arange(300) % 3
        first, again, other = (draw_selection(labels, _per_class(5), 3, seed, "budget") for seed in (1, 1, 2))
        assert first is not None
        assert other is not None
        assert again is not None
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert len({tuple(sorted(rows)) for rows in first.tolist()}) == 3

    def test_selections_leave_the_global_generator_alone(self) -> None:
        before = torch.get_rng_state()
        draw_selection(torch.arange(30) % 3, _per_class(2), 3, 1, "budget")
        assert torch.equal(torch.get_rng_state(), before)


class TestLabelledDraws:
    def _data(self, labels: torch.Tensor, draws: torch.Tensor, **changes: object) -> LabelledDraws:
        x = torch.zeros(len(labels), 2)
        return LabelledDraws(
            x=x, labels=labels, draws=draws, validation_x=x, validation_labels=labels, classes="ab", **changes
        )

    def test_labels_that_do_not_fit_the_classes_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"expected labels \(n, 2\) for the classes \['a', 'b'\], got \(4, 3\)"):
            self._data(torch.zeros(4, 3), torch.arange(4)[None])

    def test_padding_is_replaced_by_a_sample_of_the_draw(self) -> None:
        data = self._data(torch.tensor([0, 1, 0, 1]), torch.tensor([[2, 1, 3], [3, 0, -1]]))
        assert data.present.tolist() == [[True, True, True], [True, True, False]]
        assert data.samples.tolist() == [[2, 1, 3], [3, 0, 3]]
        assert data.rows.tolist() == [[[2], [1], [3]], [[3], [0], [3]]]

    def test_the_rows_of_a_sample_are_its_versions(self) -> None:
        versions = torch.tensor([[0, 4], [1, 5], [2, 2], [3, 6]])
        data = self._data(torch.tensor([0, 1, 0, 1]), torch.tensor([[2, 1], [3, -1]]), versions=versions)
        assert data.rows.tolist() == [[[2, 2], [1, 5]], [[3, 6], [3, 6]]]

    @pytest.mark.parametrize(("labels", "many"), [(torch.zeros(4).long(), False), (torch.zeros(4, 2).long(), True)])
    def test_labels_in_columns_are_multi_label(self, labels: torch.Tensor, many: bool) -> None:
        assert self._data(labels, torch.arange(4)[None]).multi_label == many
