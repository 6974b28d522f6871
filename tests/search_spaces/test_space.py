"""Search spaces: rules of parameters and files, conditions on the subset, and contradictions with the budget."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from conclugen.hyperparameters import HYPERPARAMETERS, USES, Hyperparameters
from conclugen.subsets import SUBSETS, Loss
from search_spaces import Parameter, Space, SpaceError, load_space, named_spaces

_FITTING = {
    "warmup_epochs": 2,
    "batch_size": 50,
    "kmeans_start_epoch": {"choices": [0, 3], "default": 0},
    "kmeans_queue_size": {"choices": [0, 2], "default": 2},
    "num_clusters": {"choices": [2, 16], "default": 2},
}
"""A space that fits 10 epochs, the first rung after 4, and 1,000 rows, which are 20 steps an epoch."""


def _space(**parameters: Any) -> Space:
    return Space.model_validate({"description": "planted", "parameters": parameters})


def _problems(
    *,
    subsets: Sequence[str] = tuple(SUBSETS),
    epochs: int = 10,
    first_rung: int | Callable[[int], int | None] | None = 4,
    rows: int | None = 1000,
    **changes: Any,
) -> list[str]:
    losses = {name: SUBSETS[name] for name in subsets}
    space = _space(**{**_FITTING, **changes})
    rung = first_rung if callable(first_rung) else lambda _: first_rung
    return space.problems(losses, epochs=epochs, first_rung=rung, rows=rows)


def _store(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


class TestParameter:
    @pytest.mark.parametrize(
        ("values", "start", "extremes"),
        [
            ({"fixed": 3}, 3, (3,)),
            ({"fixed": False}, False, (False,)),
            ({"fixed": 0}, 0, (0,)),
            ({"fixed": "joint"}, "joint", ("joint",)),
            ({"choices": (4, 1, 2), "default": 1}, 1, (4, 1, 2)),
            ({"choices": ("individual", "joint"), "default": "joint"}, "joint", ("individual", "joint")),
            ({"low": 0, "high": 15, "step": 3, "default": 6}, 6, (0, 15)),
            ({"low": 0, "high": 5, "step": 3, "default": 3}, 3, (0, 3)),
            ({"low": 2, "high": 4, "step": 3, "default": 2}, 2, (2, 2)),
            ({"low": 0.0, "high": 0.3, "step": 0.1, "default": 0.3}, 0.3, (0.0, 0.3)),
            ({"low": 0.5, "high": 4, "step": 1, "default": 2.5}, 2.5, (0.5, 3.5)),
            ({"low": 0.0, "high": 0.7, "default": 0.0}, 0.0, (0.0, 0.7)),
            ({"low": 1e-4, "high": 1.0, "log": True, "default": 1.0}, 1.0, (1e-4, 1.0)),
            ({"low": 5, "high": 5, "default": 5}, 5, (5, 5)),
        ],
    )
    def test_a_parameter_knows_its_start_and_extremes(
        self, values: dict[str, Any], start: Any, extremes: tuple[Any, ...]
    ) -> None:
        parameter = Parameter(**values)
        assert (parameter.start, type(parameter.start)) == (start, type(start))
        assert parameter.extremes() == extremes

    @pytest.mark.parametrize(
        ("values", "rule"),
        [
            ({}, "give exactly one of: fixed; choices; low and high"),
            ({"default": 3}, "give exactly one of"),
            ({"fixed": 1, "choices": (1, 2), "default": 1}, "give exactly one of"),
            ({"fixed": 0, "low": 0, "high": 1, "default": 0}, "give exactly one of"),
            ({"choices": (1, 2), "low": 0, "high": 1, "default": 1}, "give exactly one of"),
            ({"choices": (1, 2)}, r"default is required, for the first trial; add one of the choices \[1, 2\]"),
            ({"choices": (1, 2), "default": 3}, r"default must be one of the choices \[1, 2\], but got 3"),
            ({"choices": (), "default": 3}, "choices needs at least one value"),
            ({"low": 1, "default": 1}, "low <= high must hold, but got low=1, high=None"),
            ({"high": 1, "default": 1}, "low <= high must hold, but got low=None, high=1"),
            ({"low": 2, "high": 1, "default": 1}, "low <= high must hold, but got low=2, high=1"),
            ({"low": float("nan"), "high": 1.0, "default": 1.0}, "must be a finite number"),
            ({"low": 0.0, "high": float("inf"), "default": 1.0}, "must be a finite number"),
            ({"low": 0.0, "high": 1.0, "step": float("inf"), "default": 0.0}, "must be a finite number"),
            ({"low": False, "high": 1, "default": 1}, "must be a finite number"),
            ({"low": "0", "high": 1, "default": 1}, "must be a finite number"),
            ({"low": 0, "high": 4}, r"default is required, for the first trial; add a value in 0\.\.4"),
            ({"low": 0, "high": 4, "default": 5}, r"default must lie in 0\.\.4, but got 5"),
            ({"low": 0.5, "high": 4.0, "default": 0.4}, r"default must lie in 0\.5\.\.4\.0, but got 0\.4"),
            ({"low": 0, "high": 4, "default": "two"}, r"default must lie in 0\.\.4, but got 'two'"),
            ({"low": 0, "high": 4, "default": True}, r"default must lie in 0\.\.4, but got True"),
            ({"low": 0.0, "high": 1.0, "default": float("nan")}, r"default must lie in 0\.0\.\.1\.0, but got nan"),
            ({"low": 0, "high": 1, "default": 0.5}, r"integer default and step, but got default=0\.5, .* as 0\.0, for"),
            ({"low": 0, "high": 4, "default": 2.0}, r"a range of integers needs an integer default"),
            ({"low": 0, "high": 4, "step": 0.5, "default": 2}, r"a range of integers .* step=0\.5"),
            ({"low": 0, "high": 4, "step": 0, "default": 2}, "step > 0 must hold, but got step=0"),
            ({"low": 0.0, "high": 4.0, "step": -0.5, "default": 2.0}, r"step > 0 must hold, but got step=-0\.5"),
            ({"low": 1, "high": 9, "step": 3, "default": 6}, "low plus a multiple of step, but got low=1, step=3, def"),
            ({"low": 0.0, "high": 1.0, "step": 0.1, "default": 0.25}, "default must be low plus a multiple of step"),
            ({"choices": (1, 2, 1), "default": 1}, r"choices must differ from each other, but got \[1, 2, 1\]"),
            ({"choices": (1, 1.0), "default": 1}, "choices must differ from each other"),
            ({"choices": (1, 2), "default": 1, "log": True}, "log has no meaning beside choices; leave it out"),
            ({"choices": (1, 2), "default": 1, "step": 1}, "step has no meaning beside choices"),
            ({"choices": (1, 2), "default": 1, "high": 2}, "give exactly one of"),
            ({"fixed": 1, "default": 1}, "default has no meaning beside a fixed value; leave it out"),
            ({"fixed": False, "default": False}, "default has no meaning beside a fixed value"),
            ({"fixed": 1, "log": True}, "log has no meaning beside a fixed value"),
            ({"fixed": 1, "step": 1}, "step has no meaning beside a fixed value"),
            ({"fixed": [1, 2]}, r"must be one value; write \{choices: \[1, 2\], default: 1\} for several"),
            ({"low": 0.0, "high": 1.0, "log": True, "default": 1.0}, "a log range needs low > 0 and no step"),
            ({"low": -1.0, "high": 1.0, "log": True, "default": 1.0}, "a log range needs low > 0"),
            ({"low": 1, "high": 9, "step": 2, "log": True, "default": 1}, "a log range needs low > 0 and no step"),
            ({"fixed": 1, "needs": "Rec"}, "needs"),
            ({"fixed": 1, "min_losses": 0}, "min_losses"),
            ({"fixed": 1, "min_losses": 4}, "min_losses"),
            ({"fixed": 1, "ranges": [1]}, "ranges"),
        ],
    )
    def test_each_broken_rule_is_named(self, values: dict[str, Any], rule: str) -> None:
        with pytest.raises(ValidationError, match=rule) as caught:
            Parameter(**values)
        assert caught.value.error_count() == 1

    def test_every_problem_of_one_parameter_is_listed(self) -> None:
        with pytest.raises(ValidationError) as caught:
            Parameter(low=0, high=4, step=-1, log=True, default=9)
        assert caught.value.errors()[0]["msg"].splitlines() == [
            "Value error, a log range needs low > 0 and no step.",
            "step > 0 must hold, but got step=-1.",
            "default must lie in 0..4, but got 9.",
        ]

    @settings(deadline=None)
    @given(low=st.integers(-20, 20), width=st.integers(0, 20), step=st.integers(1, 8), real=st.booleans())
    def test_extremes_and_defaults_lie_on_the_grid(self, low: int, width: int, step: int, real: bool) -> None:
        """The range is of integers, or of tenths, which binary numbers do not hold exactly."""
        points = [value / 10 if real else value for value in range(low, low + width + 1)]
        bounds = {"low": points[0], "high": points[-1], "step": step / 10 if real else step}
        grid = points[::step]
        for point in points:
            if point in grid:
                assert Parameter(**bounds, default=point).extremes() == (grid[0], grid[-1])
            else:
                with pytest.raises(ValidationError, match="low plus a multiple of step"):
                    Parameter(**bounds, default=point)

    @settings(deadline=None)
    @given(bounds=st.lists(st.integers(-100, 100), min_size=3, max_size=3), real=st.booleans())
    def test_a_default_lies_in_its_range(self, bounds: list[int], real: bool) -> None:
        low, default, high = (float(value) if real else value for value in bounds)
        if low <= default <= high:
            assert Parameter(low=low, high=high, default=default).start == default
        else:
            with pytest.raises(ValidationError):
                Parameter(low=low, high=high, default=default)

    def test_a_range_with_integer_bounds_is_integral(self) -> None:
        assert Parameter(low=0, high=4, default=2).integral
        assert not Parameter(low=0.0, high=4.0, default=2.0).integral
        assert not Parameter(low=0, high=4.5, default=2).integral
        assert not Parameter(fixed=3).integral
        assert not Parameter(choices=(1, 2), default=1).integral

    @pytest.mark.parametrize(
        ("needs", "min_losses", "subsets"),
        [
            ([], 1, ["Con", "Clu", "Gen", "ConClu", "ConGen", "CluGen", "ConCluGen"]),
            ("Con", 1, ["Con", "ConClu", "ConGen", "ConCluGen"]),
            (["Con", "Clu"], 1, ["Con", "Clu", "ConClu", "ConGen", "CluGen", "ConCluGen"]),
            ([], 2, ["ConClu", "ConGen", "CluGen", "ConCluGen"]),
            ("Gen", 2, ["ConGen", "CluGen", "ConCluGen"]),
            ("Clu", 3, ["ConCluGen"]),
        ],
    )
    def test_conditions_choose_the_subsets(self, needs: str | list[str], min_losses: int, subsets: list[str]) -> None:
        """``needs`` asks for one of its losses, not for all."""
        parameter = Parameter.model_validate({"fixed": 1, "needs": needs, "min_losses": min_losses})
        assert [name for name, losses in SUBSETS.items() if parameter.applies(losses)] == subsets

    def test_a_parameter_is_immutable(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            Parameter(fixed=1).fixed = 2


class TestSpace:
    def test_plain_values_are_fixed(self) -> None:
        space = _space(batch_size=256, reconstruction_relu=False, kmeans_loss_mode="joint", lr=1e-3)
        assert all(parameter == Parameter(fixed=parameter.fixed) for parameter in space.parameters.values())
        assert space.default_configuration(SUBSETS["CluGen"]) == {
            "batch_size": 256,
            "reconstruction_relu": False,
            "kmeans_loss_mode": "joint",
            "lr": 1e-3,
        }

    def test_an_unknown_name_is_refused_with_the_allowed_ones(self) -> None:
        with pytest.raises(ValidationError) as caught:
            _space(learning_rate=1.0, lr=1.0, batchsize=4)
        names = ", ".join(sorted(HYPERPARAMETERS))
        assert [(e["loc"], str(e["ctx"]["error"])) for e in caught.value.errors()] == [
            (("parameters", "learning_rate"), f"is no hyperparameter. Allowed are {names}."),
            (("parameters", "batchsize"), "is no hyperparameter. Did you mean batch_size?"),
        ]

    @pytest.mark.parametrize(
        ("name", "entry", "rules"),
        [
            ("lr", "1e-4", ["fixed='1e-4' must be a number."]),
            ("lr", -1, ["fixed=-1 must be greater than 0."]),
            ("lr", True, ["fixed=true must be a number."]),
            ("lr", float("nan"), ["fixed=nan must be a finite number."]),
            ("num_clusters", 0, ["fixed=0 must be at least 1."]),
            ("feature_dropout", 1.0, ["fixed=1.0 must be less than 1."]),
            ("batch_size", "large", ["fixed='large' must be a whole number."]),
            ("batch_size", 0, ["fixed=0 must be at least 2."]),
            ("batch_size", {"fixed": 20.0}, ["fixed=20.0 must be a whole number; write 20."]),
            ("warmup_epochs", True, ["fixed=true must be a whole number."]),
            ("kmeans_loss_mode", "foo", ["fixed='foo' must be individual or joint."]),
            ("reconstruction_relu", 1, ["fixed=1 must be true or false."]),
            (
                "lr",
                {"choices": [0.1, 0, "fast"], "default": 0.1},
                ["choices[1]=0 must be greater than 0.", "choices[2]='fast' must be a number."],
            ),
            ("num_clusters", {"choices": [1, 2], "default": True}, ["default=true must be a whole number."]),
            ("num_clusters", {"choices": [1, 2], "default": 2.0}, ["default=2.0 must be a whole number; write 2."]),
            (
                "feature_dropout",
                {"low": -0.5, "high": 1.5, "step": 0.5, "default": 1.0},
                [
                    "low=-0.5 must be at least 0.",
                    "high=1.5 must be less than 1.",
                    "default=1.0 must be less than 1.",
                ],
            ),
            (
                "batch_size",
                {"low": 8.0, "high": 4.0, "default": 8},
                [
                    "low <= high must hold, but got low=8.0, high=4.0.",
                    "low=8.0 must be a whole number; write 8.",
                    "high=4.0 must be a whole number; write 4.",
                ],
            ),
        ],
    )
    def test_values_that_the_hyperparameter_does_not_allow_are_refused(
        self, name: str, entry: Any, rules: list[str]
    ) -> None:
        with pytest.raises(ValidationError) as caught:
            _space(**{name: entry})
        (error,) = caught.value.errors()
        assert error["loc"] == ("parameters", name)
        assert error["msg"].removeprefix("Value error, ").splitlines() == rules

    def test_a_parameter_made_in_python_is_checked(self) -> None:
        with pytest.raises(ValidationError, match="fixed=-1 must be greater than 0"):
            Space(description="planted", parameters={"lr": Parameter(fixed=-1)})

    @pytest.mark.parametrize("name", HYPERPARAMETERS)
    def test_the_released_values_are_allowed(self, name: str) -> None:
        value = HYPERPARAMETERS[name].default
        assert _space(**{name: value}).parameters[name].start == value

    def test_an_integer_is_allowed_where_a_real_number_is(self) -> None:
        assert _space(lr=1).default_configuration(SUBSETS["Con"]) == {"lr": 1}

    @pytest.mark.parametrize("missing", ["description", "parameters"])
    def test_description_and_parameters_are_required(self, missing: str) -> None:
        document = {"description": "d", "parameters": {}}
        del document[missing]
        with pytest.raises(ValidationError, match=missing):
            Space.model_validate(document)

    @settings(deadline=None)
    @given(data=st.data(), subset=st.sampled_from([*SUBSETS, "supervised_head"]))
    def test_a_subset_gets_the_parameters_that_its_losses_use_and_the_conditions_allow(
        self, data: st.DataObject, subset: str
    ) -> None:
        conditions = {}
        for name in data.draw(st.sets(st.sampled_from(sorted(HYPERPARAMETERS)))):
            needs = data.draw(st.sets(st.sampled_from(sorted(USES[name].losses or Loss))))
            conditions[name] = (needs, data.draw(st.integers(USES[name].least, 3)))
        space = _space(
            **{
                name: {"fixed": HYPERPARAMETERS[name].default, "needs": sorted(needs), "min_losses": least}
                for name, (needs, least) in conditions.items()
            }
        )
        losses = SUBSETS.get(subset, ())
        expected = [
            name
            for name, (needs, least) in conditions.items()
            if max(1, len(losses)) >= least
            and all(not some or not some.isdisjoint(losses) for some in (needs, USES[name].losses))
        ]
        assert list(space.for_losses(losses)) == expected
        assert all(parameter is space.parameters[name] for name, parameter in space.for_losses(losses).items())
        assert space.default_configuration(losses) == {name: HYPERPARAMETERS[name].default for name in expected}

    @pytest.mark.parametrize(
        ("name", "subsets"),
        [
            ("lr", [*SUBSETS, "supervised_head"]),
            ("restart_epochs", list(SUBSETS)),
            ("projection_dim", ["Con", "Clu", "ConClu", "ConGen", "CluGen", "ConCluGen"]),
            ("margin", ["Con", "Clu", "ConClu", "ConGen", "CluGen", "ConCluGen"]),
            ("temperature", ["Con", "ConClu", "ConGen", "ConCluGen"]),
            ("num_clusters", ["Clu", "ConClu", "CluGen", "ConCluGen"]),
            ("kmeans_start_epoch", ["ConClu", "CluGen", "ConCluGen"]),
            ("reconstruction_dim", ["Gen", "ConGen", "CluGen", "ConCluGen"]),
            ("weight_con", ["ConClu", "ConGen", "ConCluGen"]),
            ("weight_gen", ["ConGen", "CluGen", "ConCluGen"]),
        ],
    )
    def test_no_subset_searches_a_parameter_that_its_losses_do_not_use(self, name: str, subsets: list[str]) -> None:
        space = _space(**{name: {"choices": [1, 2], "default": 1}})
        methods = {**SUBSETS, "supervised_head": ()}
        assert [method for method, losses in methods.items() if space.for_losses(losses)] == subsets

    @pytest.mark.parametrize(
        ("name", "conditions", "rules"),
        [
            (
                "num_clusters",
                {"needs": "Gen"},
                ["needs must be among the losses that use it, Clu, but got Gen; without needs, all count."],
            ),
            (
                "projection_dim",
                {"needs": ["Gen", "Con"]},
                ["needs must be among the losses that use it, Con, Clu, but got Con, Gen; without needs, all count."],
            ),
            (
                "weight_clu",
                {"min_losses": 1},
                ["min_losses must be at least 2, because a loss alone has no ratio, but got 1; leave it out."],
            ),
            ("projection_dim", {"needs": "Clu", "min_losses": 1}, []),
            ("lr", {"needs": "Gen", "min_losses": 1}, []),
        ],
    )
    def test_conditions_that_contradict_the_hyperparameter_s_use_are_refused(
        self, name: str, conditions: dict[str, Any], rules: list[str]
    ) -> None:
        entry = {"choices": [1, 2], "default": 1, **conditions}
        if not rules:
            assert _space(**{name: entry}).parameters[name].choices == (1, 2)
            return
        with pytest.raises(ValidationError) as caught:
            _space(**{name: entry})
        (error,) = caught.value.errors()
        assert error["loc"] == ("parameters", name)
        assert error["msg"].removeprefix("Value error, ").splitlines() == rules


class TestProblems:
    def test_a_fitting_space_has_no_problems(self) -> None:
        assert _problems() == []

    @pytest.mark.parametrize("start", [4, {"choices": [0, 4], "default": 0}, {"low": 0, "high": 4, "default": 0}])
    def test_clustering_must_not_begin_after_the_first_rung(self, start: Any) -> None:
        assert _problems(kmeans_start_epoch=start, subsets=["Con", "CluGen"]) == [
            "kmeans_start_epoch: up to 4 for CluGen, but trials are first judged after epoch 4 of 10, before "
            "clustering has begun; lower it below 4, set probe.every to 5, or search.pruner to none."
        ]
        for remedy in (5, None):
            assert _problems(kmeans_start_epoch=start, subsets=["Con", "CluGen"], first_rung=remedy) == []

    def test_more_epochs_are_a_remedy_if_they_move_the_first_rung(self) -> None:
        (problem,) = _problems(kmeans_start_epoch=4, subsets=["ConClu"], first_rung=lambda epochs: epochs // 5)
        assert problem.endswith(
            "lower it below 2, raise budget.epochs to 25, set probe.every to 5, or search.pruner to none."
        )

    @pytest.mark.parametrize("first_rung", [None, 2, 10])
    @pytest.mark.parametrize(("start", "fits"), [(9, True), (10, False), (11, False)])
    def test_clustering_must_not_begin_after_the_last_epoch(
        self, start: int, fits: bool, first_rung: int | None
    ) -> None:
        problems = _problems(kmeans_start_epoch=start, subsets=["ConClu"], first_rung=first_rung)
        message = (
            f"kmeans_start_epoch: up to {start}, counted from 0, for ConClu, but trials have 10 epochs, and clustering "
            f"would begin after the last; lower it below 10, or raise budget.epochs above {start}."
        )
        if not fits:
            assert problems == [message]
        else:
            assert [problem.split("; ")[1][:15] for problem in problems] == ["lower it below "] * (first_rung == 2)

    def test_one_problem_names_all_its_subsets(self) -> None:
        (problem,) = _problems(kmeans_start_epoch={"choices": [0, 9], "default": 0, "min_losses": 2})
        assert problem.startswith("kmeans_start_epoch: up to 9 for ConClu, CluGen, ConCluGen, but trials are first")

    def test_a_hyperparameter_that_the_space_does_not_name_is_said_to_have_its_default(self) -> None:
        space = Space.model_validate({"description": "x", "parameters": {"lr": 0.001}})
        problems = space.problems({"Con": SUBSETS["Con"]}, epochs=4, first_rung=lambda _: None, rows=1080)
        assert [problem.partition("; ")[0] for problem in problems] == [
            "batch_size: not named in the space, so it is 4096: up to 4096 of 1080 training samples",
            "warmup_epochs: not named in the space, so it is 5: up to 5 epochs of warm-up in a budget of 4",
        ]

    @pytest.mark.parametrize("start", [1, {"choices": [0, 1], "default": 0}])
    def test_a_later_start_of_clustering_does_not_concern_clu_alone(self, start: Any) -> None:
        assert _problems(kmeans_start_epoch=start, subsets=["Clu", "ConClu"]) == []
        assert "kmeans_start_epoch" not in _space(kmeans_start_epoch=start).for_losses(SUBSETS["Clu"])

    def test_clustering_from_the_start_is_no_problem(self) -> None:
        assert _problems(kmeans_start_epoch=0) == []

    @pytest.mark.parametrize(("longest", "rows", "fits"), [(19, 1000, True), (20, 1000, False), (19, 999, False)])
    def test_a_queue_must_fill_within_an_epoch(self, longest: int, rows: int, fits: bool) -> None:
        """Only full batches count: 999 rows are 19 steps of 50. One more batch must follow a full queue."""
        problems = _problems(kmeans_queue_size={"choices": [0, longest], "default": 0}, rows=rows)
        steps, largest = {1000: (20, 47), 999: (19, 49)}[rows]  # 21 batches of 47 are 987 rows, 20 of 49 are 980
        message = (
            f"kmeans_queue_size: a queue of {longest} batches never fills in the {steps} steps of an epoch ({rows} "
            f"rows, batches of 50); lower it to at most {steps - 1}, or batch_size to at most {largest}."
        )
        assert problems == ([] if fits else [message])

    def test_the_queue_must_fill_with_the_largest_batch(self) -> None:
        """Batches of 500 leave 2 steps, batches of 50 leave 20."""
        batches = {"low": 50, "high": 500, "default": 50}
        assert _problems(batch_size=batches, kmeans_queue_size={"choices": [0, 1], "default": 0}) == []
        assert _problems(batch_size=batches) == [
            "kmeans_queue_size: a queue of 2 batches never fills in the 2 steps of an epoch (1000 rows, batches of "
            "500); lower it to at most 1, or batch_size to at most 333."
        ]

    @pytest.mark.parametrize(("most", "fits"), [(1000, True), (1001, False)])
    def test_a_batch_must_not_be_larger_than_the_set(self, most: int, fits: bool) -> None:
        problems = _problems(batch_size={"choices": [50, most], "default": 50}, kmeans_queue_size=0)
        message = f"batch_size: up to {most} of 1000 training samples; lower it to at most 1000."
        assert problems == ([] if fits else [message])

    def test_a_batch_as_large_as_the_set_makes_one_step(self) -> None:
        (problem,) = _problems(batch_size=1000, kmeans_queue_size=1)
        assert problem == (
            "kmeans_queue_size: a queue of 1 batch never fills in the 1 step of an epoch (1000 rows, batches of 1000); "
            "lower it to 0, which is no queue, or batch_size to at most 500."
        )

    def test_no_remedy_asks_for_a_batch_of_one_sample(self) -> None:
        """Three rows in a batch of 2 are one step, and a queue of 2 batches would need batches of one row."""
        (problem,) = _problems(batch_size=2, num_clusters=2, kmeans_queue_size=2, rows=3, subsets=["Clu"])
        assert problem.endswith("batches of 2); lower it to 0, which is no queue.")

    def test_a_value_counts_only_for_the_subsets_that_use_it(self) -> None:
        """Clu alone keeps the released 8 clusters, which are too many for a batch of 4."""
        changes = {"batch_size": 4, "num_clusters": {"fixed": 4, "needs": "Clu", "min_losses": 2}}
        assert _problems(subsets=["ConClu", "CluGen"], **changes) == []
        assert _problems(subsets=["Con", "Clu"], **changes) == [
            "num_clusters: 8 clusters of a batch of 4 samples; lower it to at most 4."
        ]

    def test_the_released_queue_and_batch_count_if_the_space_names_none(self) -> None:
        """A queue of two batches and one more need three times 4,096 rows."""
        space = _space(warmup_epochs=2)
        for rows, count in ((3 * 4096, 0), (3 * 4096 - 1, 1)):
            assert len(space.problems(SUBSETS, epochs=10, first_rung=lambda _: 4, rows=rows)) == count

    @pytest.mark.parametrize(("most", "fits"), [(50, True), (51, False)])
    def test_clusters_must_not_outnumber_the_samples_of_a_batch(self, most: int, fits: bool) -> None:
        problems = _problems(num_clusters={"choices": [2, most], "default": 2})
        message = f"num_clusters: {most} clusters of a batch of 50 samples; lower it to at most 50."
        assert problems == ([] if fits else [message])

    def test_clusters_must_not_outnumber_the_samples_of_the_smallest_batch(self) -> None:
        """Any batch size may be drawn with any number of clusters, and a queue is empty at first."""
        batches = {"choices": [12, 50], "default": 50}
        assert _problems(batch_size=batches) == [
            "num_clusters: 16 clusters of a batch of 12 samples; lower it to at most 12."
        ]

    def test_clusters_must_not_outnumber_the_rows(self) -> None:
        """A batch has at most as many samples as the set."""
        problems = _problems(rows=15, kmeans_queue_size=0)
        assert problems == [
            "batch_size: up to 50 of 15 training samples; lower it to at most 15.",
            "num_clusters: 16 clusters of a batch of 15 samples; lower it to at most 15.",
        ]

    @pytest.mark.parametrize(("warmup", "fits"), [(9, True), (10, False), (11, False)])
    def test_warmup_must_end_before_the_budget(self, warmup: int, fits: bool) -> None:
        message = (
            f"warmup_epochs: up to {warmup} epochs of warm-up in a budget of 10; raise budget.epochs above {warmup} or "
            "lower warmup_epochs."
        )
        assert _problems(warmup_epochs=warmup) == ([] if fits else [message])
        assert _problems(warmup_epochs={"low": 0, "high": warmup, "default": 0}) == ([] if fits else [message])

    def test_the_released_warmup_counts_if_the_space_names_none(self) -> None:
        for epochs, count in ((5, 1), (6, 0)):
            assert (
                len(_space(batch_size=8).problems(SUBSETS, epochs=epochs, first_rung=lambda _: 1, rows=None)) == count
            )

    def test_problems_of_clustering_concern_only_subsets_with_clu(self) -> None:
        contradictions = {"kmeans_start_epoch": 9, "kmeans_queue_size": 500, "num_clusters": 5000}
        assert _problems(subsets=["Con", "Gen", "ConGen"], **contradictions) == []
        assert len(_problems(subsets=["ConClu"], **contradictions)) == 3

    def test_an_unknown_number_of_rows_raises_no_problem(self) -> None:
        assert _problems(rows=None, kmeans_queue_size=500, num_clusters=5000) == []

    def test_every_problem_is_listed(self) -> None:
        problems = _problems(kmeans_start_epoch=8, kmeans_queue_size=90, num_clusters=128, warmup_epochs=30)
        assert sorted(problem.partition(":")[0] for problem in problems) == [
            "kmeans_queue_size",
            "kmeans_start_epoch",
            "num_clusters",
            "warmup_epochs",
        ]


class TestNearest:
    @pytest.mark.parametrize(
        ("entry", "value", "nearest"),
        [
            ({"choices": [8, 16], "default": 8}, 16, 16),
            ({"choices": [8, 16], "default": 8}, 12, None),
            ({"choices": ["individual", "joint"], "default": "joint"}, "individual", "individual"),
            ({"choices": [True, False], "default": True}, False, False),
            ({"low": 0.1, "high": 1.0, "log": True, "default": 1.0}, 0.01, 0.1),
            ({"low": 0.1, "high": 1.0, "default": 1.0}, 0.5, 0.5),
            ({"low": 0, "high": 10, "step": 4, "default": 0}, 7, 8),
            ({"low": 0, "high": 10, "step": 4, "default": 0}, 99, 8),
            ({"low": 1, "high": 100, "log": True, "default": 1}, 2.6, 3),
            ({"low": 0.1, "high": 1.0, "default": 1.0}, "joint", None),
            ({"low": 0, "high": 1, "default": 1}, True, None),
            ({"low": 0, "high": 10**12, "step": 3, "default": 0}, 10**11, 10**11 - 1),
        ],
    )
    def test_a_value_of_another_search_moves_to_the_nearest_allowed_one(
        self, entry: Any, value: Any, nearest: Any
    ) -> None:
        result = Parameter.model_validate(entry).nearest(value)
        assert result == nearest
        assert result is None or type(result) in (type(nearest), type(value))


class TestPackagedSpaces:
    def test_three_spaces_come_with_the_package(self) -> None:
        assert named_spaces() == ["default", "paper", "small"]

    @pytest.mark.parametrize("subset", [*SUBSETS, "supervised_head"])
    @pytest.mark.parametrize("name", ["default", "paper", "small"])
    def test_a_subset_gets_the_parameters_that_its_losses_use(self, name: str, subset: str) -> None:
        space, losses = load_space(name), SUBSETS.get(subset, ())
        used = set(space.for_losses(losses))
        groups = {
            "temperature": Loss.CON in losses,
            "projection_dim": bool({Loss.CON, Loss.CLU} & set(losses)),
            "num_clusters": Loss.CLU in losses,
            "kmeans_queue_size": Loss.CLU in losses,
            "kmeans_loss_mode": Loss.CLU in losses,
            "kmeans_start_epoch": Loss.CLU in losses and len(losses) > 1,
            "kmeans_warm_start": Loss.CLU in losses,
            "kmeans_iterations": Loss.CLU in losses,
            "reconstruction_dim": Loss.GEN in losses,
            "reconstruction_relu": Loss.GEN in losses,
            "weight_con": Loss.CON in losses and len(losses) > 1,
            "weight_clu": Loss.CLU in losses and len(losses) > 1 and (name == "paper" or losses[0] != Loss.CLU),
            "weight_gen": Loss.GEN in losses and len(losses) > 1,
        }
        expected = {parameter for parameter in space.parameters if groups.get(parameter, True)}
        assert used == expected
        configuration = Hyperparameters(**space.default_configuration(losses))
        assert all(getattr(configuration, parameter) == space.parameters[parameter].start for parameter in used)

    @pytest.mark.parametrize(
        ("name", "epochs", "first_rung", "rows"), [("paper", 100, 20, 1_090_000), ("small", 30, 6, 1077)]
    )
    def test_spaces_fit_the_budgets_that_they_are_made_for(
        self, name: str, epochs: int, first_rung: int, rows: int
    ) -> None:
        assert load_space(name).problems(SUBSETS, epochs=epochs, first_rung=lambda _: first_rung, rows=rows) == []

    def test_the_paper_space_has_the_released_ranges(self) -> None:
        """The ranges of docs/method.md, section 5."""
        parameters = load_space("paper").parameters
        assert {name: p.choices for name, p in parameters.items() if p.choices is not None} == {
            "representation_dim": (1024, 2048, 4096),
            "projection_dim": (512, 768, 1024, 1536),
            "reconstruction_dim": (512, 768, 1024, 1536),
            "num_clusters": (2, 4, 8, 32, 64, 128),
            "kmeans_queue_size": (2, 4, 8, 16, 32, 64, 128),
            "kmeans_loss_mode": ("individual", "joint"),
        }
        ranges = {name: (p.low, p.high, p.step, p.log) for name, p in parameters.items() if p.low is not None}
        assert ranges == {
            "kmeans_start_epoch": (0, 15, 3, False),
            "lr": (1e-5, 1e-3, None, True),
            "weight_decay": (1e-5, 1e-3, None, True),
            **dict.fromkeys(("weight_con", "weight_clu", "weight_gen"), (1e-4, 1.1, None, True)),
        }
        assert {name: p.fixed for name, p in parameters.items() if p.fixed is not None} == {
            "lift_audio": True,
            "batch_size": 4096,
            "kmeans_warm_start": False,
            "kmeans_iterations": 100,
            "reconstruction_relu": True,
        }


class TestLoadSpace:
    def test_a_file_is_loaded(self, tmp_path: Path) -> None:
        path = _store(tmp_path, yaml.safe_dump({"description": "mine", "parameters": {"lr": {"fixed": 0.5}}}))
        assert load_space(path) == Space(description="mine", parameters={"lr": Parameter(fixed=0.5)})

    @pytest.mark.parametrize(
        ("name", "near"),
        [
            ("smal", " Did you mean small?"),
            ("/here/defualt", " Did you mean default?"),
            ("nowhere/mine.yaml", ""),
            (".", ""),
        ],
    )
    def test_a_name_of_no_space_and_no_file_is_refused(
        self, name: str, near: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SpaceError) as caught:
            load_space(name)
        assert caught.value.problems == [
            f"{name!r} is neither a named space (default, paper, small) nor a YAML file.{near}"
        ]

    @pytest.mark.parametrize("text", ["parameters: {lr: [", "a: b: c", "\t- x"])
    def test_a_file_that_is_no_yaml_is_refused(self, tmp_path: Path, text: str) -> None:
        path = _store(tmp_path, text)
        with pytest.raises(SpaceError) as caught:
            load_space(path)
        (problem,) = caught.value.problems
        assert problem.startswith(f"{path}: line 1: cannot be read as YAML: ")

    def test_yaml_that_would_build_objects_is_not_executed(self, tmp_path: Path) -> None:
        touched = tmp_path / "touched"
        path = _store(tmp_path, f"description: !!python/object/apply:os.mkdir ['{touched}']\nparameters: {{}}")
        with pytest.raises(SpaceError, match=r"description: has the tag .*os\.mkdir; leave it out"):
            load_space(path)
        assert not touched.exists()

    @pytest.mark.parametrize("text", ["", "- 1", "just text"])
    def test_a_document_that_is_no_mapping_is_refused(self, tmp_path: Path, text: str) -> None:
        path = _store(tmp_path, text)
        with pytest.raises(SpaceError) as caught:
            load_space(path)
        (problem,) = caught.value.problems
        assert problem.startswith(f"{path}: ")
        assert problem.endswith("it must have settings, each a line `name: value`.")

    def test_every_problem_of_a_file_is_listed(self, tmp_path: Path) -> None:
        text = """
            parameters:
              lr: {low: 1.0, high: -1.0, default: 0.5}
              batch_size: {choices: [1, 2], default: 3}
              num_clusters: {fixed: 3, needs: Clus}
              lerning_rate: 1.0
              weight_decay: large
              reconstruction_dim: {low: 1, high: .inf, default: 1}
            notes: none
        """
        path = _store(tmp_path, text)
        with pytest.raises(SpaceError) as caught:
            load_space(path)
        problems = caught.value.problems
        assert all(problem.startswith(f"{path}: ") for problem in problems)
        assert sorted(problem.removeprefix(f"{path}: ").removeprefix("parameters.") for problem in problems) == [
            "batch_size: choices[0]=1 must be at least 2.",
            "batch_size: default must be one of the choices [1, 2], but got 3.",
            "description: is required (what the space is for, in a sentence); add it.",
            f"lerning_rate: is no hyperparameter. Allowed are {', '.join(sorted(HYPERPARAMETERS))}.",
            "lr: high=-1.0 must be greater than 0.",
            "lr: low <= high must hold, but got low=1.0, high=-1.0.",
            "notes: is no setting here; allowed are description, parameters, weights, prior, adapted.",
            "num_clusters.needs.0: 'Clus': must be Con, Clu or Gen. Did you mean Clu?",
            "reconstruction_dim.high: inf: must be a finite number.",
            "weight_decay: fixed='large' must be a number.",
        ]
        assert str(caught.value) == "\n".join(problems)

    def test_a_parameter_that_is_there_twice_is_refused_with_both_lines(self, tmp_path: Path) -> None:
        path = _store(tmp_path, "description: d\nparameters:\n  lr: 0.1\n  batch_size: 010\n  lr: 0.2\n")
        with pytest.raises(SpaceError) as caught:
            load_space(path)
        assert caught.value.problems == [
            f"{path}: line 4: parameters.batch_size: 010: is a number to base 8 or to base 10; write 10, or '010' in "
            "quotes.",
            f"{path}: line 5: parameters.lr: is given twice (lines 3 and 5); keep one, or join the two.",
        ]

    @pytest.mark.parametrize("name", ["representation_dim", "projection_dim", "reconstruction_dim", "num_clusters"])
    def test_a_width_that_no_machine_holds_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(SpaceError, match=f"{name}: fixed=100000000 must be at most 65536"):
            load_space(_store(tmp_path, f"description: d\nparameters: {{{name}: 100000000}}"))

    @pytest.mark.parametrize("number", ["1e-4", "1.e-4", "1.0e-4", "0.0001", "+1E-4", ".1e-3", "100e-6"])
    def test_numbers_with_an_exponent_need_no_point(self, tmp_path: Path, number: str) -> None:
        text = f"description: d\nparameters: {{lr: {number}, margin: {{low: {number}, high: 1e0, default: {number}}}}}"
        parameters = load_space(_store(tmp_path, text)).parameters
        assert parameters == {"lr": Parameter(fixed=1e-4), "margin": Parameter(low=1e-4, high=1.0, default=1e-4)}

    def test_a_number_in_quotes_is_a_word(self, tmp_path: Path) -> None:
        with pytest.raises(SpaceError, match=r"parameters\.lr: fixed='1e-4' must be a number"):
            load_space(_store(tmp_path, "description: d\nparameters: {lr: '1e-4'}"))

    @pytest.mark.parametrize("content", [b"description: caf\xe9", b"\xff\xfe\x00", b"a: \x00"])
    def test_files_that_are_no_text_or_hold_bad_values_are_refused(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "mine.yaml"
        path.write_bytes(content)
        with pytest.raises(SpaceError, match=r"mine\.yaml: .*(cannot be read as YAML|is no text in UTF-8)"):
            load_space(str(path))

    @pytest.mark.parametrize("name", ["x" * 5000, "mine\0.yaml", "", "x/" * 5000])
    def test_names_that_no_file_can_have_are_refused(self, name: str) -> None:
        with pytest.raises(SpaceError, match=r"is neither a named space \(default, paper, small\) nor a YAML file"):
            load_space(name)

    def test_a_huge_number_is_refused(self, tmp_path: Path) -> None:
        huge = "9" * 400
        text = f"description: d\nparameters: {{lr: {{low: 1, high: {huge}, step: 2, default: 1}}, margin: {huge}}}"
        with pytest.raises(SpaceError, match=r"margin: "):
            load_space(_store(tmp_path, text))


class TestValues:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"fixed": 3}, (3,)),
            ({"choices": (4, 2), "default": 2}, (4, 2)),
            ({"low": 2, "high": 5, "default": 3}, (2, 3, 4, 5)),
            ({"low": 0, "high": 5, "step": 3, "default": 0}, (0, 3)),
            ({"low": 0.1, "high": 0.5, "step": 0.2, "default": 0.1}, (0.1, 0.3, 0.5)),
            ({"low": 0.0, "high": 1.0, "default": 0.5}, None),
            ({"low": 1, "high": 8, "log": True, "default": 2}, None),
        ],
    )
    def test_values_are_counted_where_there_are_finitely_many(
        self, options: dict[str, Any], expected: tuple[Any, ...] | None
    ) -> None:
        parameter = Parameter(**options)
        if expected is None:
            assert parameter.count is None
        else:
            assert parameter.count == len(expected)
            assert tuple(map(parameter.value, range(len(expected)))) == expected
            assert [parameter.index(value) for value in expected] == list(range(len(expected)))

    def test_a_trillion_values_are_counted_and_found_at_once(self) -> None:
        parameter = Parameter(low=0.0, high=1e6, step=1e-6, default=0.5)
        assert parameter.count == 10**12 + 1
        assert parameter.value(parameter.index(0.5)) == 0.5


class TestSamplers:
    _SPACE = Space(
        description="",
        parameters={
            "representation_dim": Parameter(choices=(8, 16), default=8),
            "projection_dim": Parameter(low=2, high=4, default=2, needs="Con"),
            "lr": Parameter(low=1e-4, high=1e-2, log=True, default=1e-3, needs="Gen"),
        },
    )

    @pytest.mark.parametrize(
        ("sampler", "subset", "trials", "expected"),
        [
            ("tpe", "ConGen", 99, []),
            ("random", "ConGen", 99, []),
            ("grid", "Con", 6, []),
            ("grid", "Con", 7, ["the grid of Con has 6 points for 7 trials; lower the budget."]),
            ("grid", "Gen", 1, ["a grid needs finitely many values: give lr choices or a step."]),
            ("cmaes", "Con", 1, ["cmaes searches ranges only: fix representation_dim, or give them a range."]),
        ],
    )
    def test_a_space_that_the_sampler_cannot_search_is_named(
        self, sampler: str, subset: str, trials: int, expected: list[str]
    ) -> None:
        assert self._SPACE.unsuitable(sampler, {subset: SUBSETS[subset]}, trials) == expected

    @pytest.mark.parametrize("sampler", ["grid", "cmaes"])
    def test_unsuitable_parameters_of_all_subsets_are_one_problem(self, sampler: str) -> None:
        assert len(load_space("small").unsuitable(sampler, SUBSETS, 3)) == 1


class TestRelativeWeights:
    TEXT = """
        description: d
        weights: relative
        parameters:
          weight_clu: {low: 0.1, high: 10.0, log: true, default: 1.0}
          weight_gen: {low: 0.1, high: 10.0, log: true, default: 1.0}
    """

    @pytest.mark.parametrize(
        ("subset", "searched"),
        [
            *(("Con", set()), ("Clu", set()), ("ConClu", {"weight_clu"}), ("ConGen", {"weight_gen"})),
            *(("CluGen", {"weight_gen"}), ("ConCluGen", {"weight_clu", "weight_gen"})),
        ],
    )
    def test_the_first_loss_of_a_subset_has_no_weight(self, tmp_path: Path, subset: str, searched: set[str]) -> None:
        space = load_space(_store(tmp_path, self.TEXT))
        assert space.for_losses(SUBSETS[subset]).keys() == searched

    def test_the_weight_that_others_are_relative_to_is_refused(self, tmp_path: Path) -> None:
        path = _store(tmp_path, self.TEXT.replace("parameters:", "parameters:\n          weight_con: 2.0"))
        with pytest.raises(SpaceError, match="weight_con: with `weights: relative`, the other weights are relative"):
            load_space(path)


class TestPriors:
    TEXT = """
        description: d
        parameters:
          lr: {low: 1.0e-4, high: 1.0e-2, log: true, default: 1.0e-3}
          feature_dropout: {low: 0.0, high: 0.8, default: 0.5}
          representation_dim: {choices: [64, 128, 256], default: 128}
          weight_decay: 1.0e-4
        prior:
    """

    def test_a_prior_is_highest_at_its_centre_and_falls_as_its_distribution(self, tmp_path: Path) -> None:
        prior = "{lr: [1.0e-3, 0.5], feature_dropout: [0.2, 0.1], representation_dim: {256: 3}}"
        priors = load_space(_store(tmp_path, self.TEXT.rstrip() + f" {prior}\n")).priors
        lr, dropout, width = (priors[name] for name in ("lr", "feature_dropout", "representation_dim"))
        assert lr.density(0.5) == 1
        one_deviation = 0.5 + 0.5 / math.log(100)
        assert lr.density(one_deviation) == pytest.approx(math.exp(-0.5))
        assert dropout.density(0.25) == 1
        assert dropout.density(0.5) == pytest.approx(math.exp(-2))
        assert [width.density(place) for place in (0.1, 0.5, 0.9, 1.0)] == pytest.approx([1 / 3, 1 / 3, 1, 1])
        assert [prior.text for prior in (lr, dropout, width)] == [
            *("about 0.001, within a factor of 1.65", "about 0.2 ± 0.1", "256 ×3"),
        ]

    def test_every_problem_of_priors_is_listed(self, tmp_path: Path) -> None:
        prior = (
            "{lr: [1.0, 0.5], feature_dropout: 0.2, representation_dim: {512: 3}, weight_decay: [1.0, 1], lrr: [1, 1]}"
        )
        with pytest.raises(SpaceError) as caught:
            load_space(_store(tmp_path, self.TEXT.rstrip() + f" {prior}\n"))
        assert [problem.partition("yaml: ")[2] for problem in caught.value.problems] == [
            "prior.lr: [1.0, 0.5]: the centre must lie in 0.0001..0.01.",
            "prior.feature_dropout: 0.2: must be [centre, spread], two numbers, the second greater than 0.",
            "prior.representation_dim: 512: is none of the choices [64, 128, 256].",
            "prior.weight_decay: has a fixed value, which needs no prior; leave it out.",
            "prior.lrr: is no parameter of the space. Did you mean lr?",
        ]

    def test_only_joint_reads_a_prior(self, tmp_path: Path) -> None:
        space = load_space(_store(tmp_path, self.TEXT.rstrip() + " {lr: [1.0e-3, 0.5]}\n"))
        assert space.unsuitable("joint", {"Con": SUBSETS["Con"]}, 9) == []
        assert space.unsuitable("tpe", {"Con": SUBSETS["Con"]}, 9) == [
            "prior: only search.sampler joint reads it, not tpe; choose joint, or leave it out."
        ]
