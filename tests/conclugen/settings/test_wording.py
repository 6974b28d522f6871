"""Problems that pydantic finds are told in plain words."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from conclugen.settings.wording import nearest, problems_of


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    epochs: Annotated[int, Field(ge=2, le=9, strict=True, description="length of a run")]
    share: Annotated[float, Field(gt=0, lt=1, strict=True, allow_inf_nan=False)] = 0.5


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    budget: Inner = Inner(epochs=3)
    kind: Literal["logistic", "paper"] = "paper"
    gpus: Literal["auto"] | Annotated[int, Field(ge=0, le=1)] = "auto"
    names: Annotated[tuple[str, ...], Field(min_length=1)] = ("a",)
    flag: Annotated[bool, Field(strict=True)] = True


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"budget": {}}, "budget.epochs: is required (length of a run); add it."),
        (
            {"budget": 3},
            "budget: 3: must have settings of its own, each a line `name: value`; allowed are epochs, share.",
        ),
        ({"budget": {"epochs": 1}}, "budget.epochs: 1: must be at least 2."),
        ({"budget": {"epochs": 3.0}}, "budget.epochs: 3.0: must be a whole number; write 3."),
        ({"budget": {"epochs": 3.5}}, "budget.epochs: 3.5: must be a whole number."),
        ({"budget": {"epochs": "3"}}, "budget.epochs: '3': must be a whole number; write 3."),
        ({"budget": {"epochs": True}}, "budget.epochs: true: must be a whole number."),
        (
            {"budget": {"epochs": None}},
            "budget.epochs: null: must be a whole number; give a value.",
        ),
        (
            {"budget": {"epochs": 3, "share": None}},
            "budget.share: null: must be a number; give a value, or leave the line out.",
        ),
        ({"budget": {"epochs": 3, "share": "0,5"}}, "budget.share: '0,5': must be a number; write 0.5."),
        ({"budget": {"epochs": 3, "share": "10%"}}, "budget.share: '10%': must be a number; write 0.1."),
        ({"budget": {"epochs": 3, "share": 1}}, "budget.share: 1: must be less than 1."),
        ({"budget": {"epochs": 3, "share": float("nan")}}, "budget.share: nan: must be a finite number."),
        ({"budget": {"epochs": 3, "epcohs": 3}}, "budget.epcohs: is no setting here. Did you mean epochs?"),
        ({"epochs": 3}, "epochs: is no setting here. Did you mean budget.epochs?"),
        ({"colour": "red"}, "colour: is no setting here; allowed are budget, kind, gpus, names, flag."),
        ({"kind": "Paper"}, "kind: 'Paper': must be logistic or paper. Did you mean paper?"),
        ({"kind": "svm"}, "kind: 'svm': must be logistic or paper."),
        ({"gpus": 7}, "gpus: 7: must be auto or at most 1."),
        ({"names": []}, "names: []: needs at least 1 of them."),
        ({"names": "a"}, "names: 'a': must be a list."),
        ({"names": [2024]}, "names.0: 2024: must be a word; write '2024' in quotes."),
        ({"flag": "no"}, "flag: 'no': must be true or false."),
    ],
)
def test_a_problem_names_field_value_rule_and_remedy(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(settings)
    assert problems_of(caught.value, Outer) == [expected]


@pytest.mark.parametrize(
    ("name", "near"), [("TPE", "tpe"), ("con", "Con"), ("sedes", "seeds"), ("colour", None), ("", None)]
)
def test_the_nearest_name_is_found_whatever_its_case(name: str, near: str | None) -> None:
    assert nearest(name, ["tpe", "Con", "seeds", "name"]) == near
