"""One parameter of a search space: how a hyperparameter varies, and for which loss subsets.

Decimal numbers are exact: 0.3 is three steps of 0.1. A range counts and computes its values without listing them, so a
fine grid costs nothing.
"""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Annotated, Any, Self, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from conclugen.hyperparameters import USES, Hyperparameters, Use
from conclugen.settings.wording import rule_of, shown
from conclugen.subsets import Loss

__all__ = ["Parameter", "Scalar"]

Scalar = bool | int | float | str

_ALLOWED: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False))
    for name, hint in get_type_hints(Hyperparameters, include_extras=True).items()
}
"""Hyperparameter -> strict check of one value: neither True nor 2.0 is an integer."""


def _scalar(value: object) -> Scalar:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple) and value:
        choices = ", ".join(map(shown, value))
        raise ValueError(f"must be one value; write {{choices: [{choices}], default: {shown(value[0])}}} for several.")
    raise ValueError("must be a number, a word, true or false.")


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value < math.inf:
        raise ValueError("must be a finite number.")
    return value


class ParameterError(ValueError):
    """A parameter contradicts itself or its hyperparameter; ``problems`` holds one message per problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


_Scalar = Annotated[Scalar, PlainValidator(_scalar)]  # one message; pydantic would give one per type of the union
_Number = Annotated[int | float, PlainValidator(_number)]


class Parameter(BaseModel):
    """How one hyperparameter varies: a fixed value, one of several choices, or a range.

    Validation with the context ``{"hyperparameter": name}`` also checks values and conditions against that
    hyperparameter.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, revalidate_instances="always")

    fixed: _Scalar | None = None
    choices: tuple[_Scalar, ...] | None = None
    low: _Number | None = None
    high: _Number | None = None
    step: _Number | None = None
    log: Annotated[bool, Field(strict=True)] = False
    default: _Scalar | None = None
    needs: Annotated[
        frozenset[Loss],
        BeforeValidator(lambda value: [part.strip() for part in value.split(",")] if isinstance(value, str) else value),
    ] = frozenset()
    min_losses: Annotated[int, Field(ge=1, le=3, strict=True)] = 1

    @model_validator(mode="after")
    def _sound(self, info: ValidationInfo) -> Self:
        problems = list(self._contradictions())
        if info.context is not None:
            name = info.context["hyperparameter"]
            problems += [*self._refused_values(_ALLOWED[name]), *self._refused_conditions(USES[name])]
        if problems:
            raise ParameterError(problems)
        return self

    def _contradictions(self) -> Iterator[str]:
        if (self.fixed is not None) + (self.choices is not None) + (self.low is not None or self.high is not None) != 1:
            yield "give exactly one of: fixed; choices; low and high."
        elif self.fixed is not None:
            yield from self._ignored("default", "step", "log", beside="a fixed value")
        elif self.choices is not None:
            if not self.choices:
                yield "choices needs at least one value."
            elif self.default is None:
                yield f"default is required, for the first trial; add one of the choices {list(self.choices)}."
            elif self.default not in self.choices:
                yield f"default must be one of the choices {list(self.choices)}, but got {self.default!r}."
            if len(set(self.choices)) < len(self.choices):
                yield f"choices must differ from each other, but got {list(self.choices)}."
            yield from self._ignored("step", "log", beside="choices")
        elif self.low is None or self.high is None or self.low > self.high:
            yield f"low <= high must hold, but got low={self.low}, high={self.high}."
        else:
            yield from self._contradictions_of_range(self.low, self.high)

    def _ignored(self, *keys: str, beside: str) -> Iterator[str]:
        for key in keys:
            if key in self.model_fields_set:
                yield f"{key} has no meaning beside {beside}; leave it out."

    def _contradictions_of_range(self, low: float, high: float) -> Iterator[str]:
        step, default = self.step, self.default
        if self.log and (low <= 0 or step is not None):
            yield "a log range needs low > 0 and no step."
        if step is not None and step <= 0:
            yield f"step > 0 must hold, but got step={step}."
        if default is None:
            yield f"default is required, for the first trial; add a value in {low}..{high}."
        elif isinstance(default, bool | str) or not low <= default <= high:
            yield f"default must lie in {low}..{high}, but got {default!r}."
        elif self.integral and (isinstance(default, float) or isinstance(step, float)):
            yield (
                f"a range of integers needs an integer default and step, but got default={default}, step={step}; "
                f"write low and high with a point, such as {low}.0, for a range of real numbers."
            )
        elif step is not None and step > 0 and _past_grid(default, low, step):
            yield f"default must be low plus a multiple of step, but got low={low}, step={step}, default={default}."

    def _refused_values(self, allowed: TypeAdapter[Any]) -> Iterator[str]:
        values = {
            "fixed": self.fixed,
            **{f"choices[{index}]": choice for index, choice in enumerate(self.choices or ())},
            "low": self.low,
            "high": self.high,
            "default": self.default,
        }
        for key, value in values.items():
            try:
                if value is not None:
                    allowed.validate_python(value)
            except ValidationError as error:
                yield f"{key}={shown(value)} {rule_of(error.errors()[0])}"

    def _refused_conditions(self, use: Use) -> Iterator[str]:
        if use.losses and not self.needs <= use.losses:
            users, got = (", ".join(loss for loss in Loss if loss in some) for some in (use.losses, self.needs))
            yield f"needs must be among the losses that use it, {users}, but got {got}; without needs, all count."
        if "min_losses" in self.model_fields_set and self.min_losses < use.least:
            yield (
                f"min_losses must be at least {use.least}, because a loss alone has no ratio, but got "
                f"{self.min_losses}; leave it out."
            )

    @property
    def integral(self) -> bool:
        """Whether the parameter is a range of integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def start(self) -> Scalar:
        """The value in the default configuration."""
        value = self.default if self.fixed is None else self.fixed
        if value is None:
            raise ValueError("a parameter has a fixed value or a default.")  # never raised: the validator checks it
        return value

    def extremes(self) -> tuple[Scalar, ...]:
        """Return all values of a fixed or categorical parameter, or the lowest and highest of a range."""
        if self.choices is not None:
            return self.choices
        if self.low is not None and self.high is not None:
            if self.step is None:
                return (self.low, self.high)
            highest = _exact(self.high) - _past_grid(self.high, self.low, self.step)
            return (self.low, int(highest) if self.integral else float(highest))
        return (self.start,)

    @property
    def count(self) -> int | None:
        """Number of values; None for a log range and for a range of real numbers without a step."""
        if self.low is None or self.high is None:
            return len(self.extremes())
        if self.log or (self.step is None and not self.integral):
            return None
        return int((_exact(self.high) - _exact(self.low)) // _exact(self.step or 1)) + 1

    def value(self, index: int) -> Scalar:
        """Return value number ``index`` of a parameter with finitely many values."""
        if self.low is None:
            return self.extremes()[index]
        exact = _exact(self.low) + index * _exact(self.step or 1)
        return int(exact) if self.integral else float(exact)

    def index(self, value: Scalar) -> int:
        """Return the number of ``value`` in a parameter with finitely many values."""
        if self.low is None:
            return self.extremes().index(value)
        return round((_exact(value) - _exact(self.low)) / _exact(self.step or 1))

    def nearest(self, value: Scalar) -> Scalar | None:
        """Return the allowed value closest to ``value``; None if ``value`` compares with no allowed value."""
        if self.low is None or self.high is None:
            return value if value in self.extremes() else None
        if isinstance(value, bool | str):
            return None
        clipped = min(max(value, self.low), self.high)
        if self.count is not None:
            return self.value(min(self.index(clipped), self.count - 1))
        return round(clipped) if self.integral else clipped

    def document(self) -> Any:
        """Return the parameter as it is written in a space: a fixed value alone, or a mapping."""
        if self.fixed is None:
            return self.model_dump(mode="json", exclude_defaults=True)
        conditions = self.model_dump(mode="json", include={"needs", "min_losses"}, exclude_defaults=True)
        return {"fixed": self.fixed, **conditions} if conditions else self.fixed

    def applies(self, losses: Sequence[Loss]) -> bool:
        """Return whether a subset with these losses meets the parameter's own conditions."""
        return Use(self.needs, self.min_losses).by(losses)


def _exact(number: Scalar) -> Fraction:
    """Return the number exactly as written in decimals, so that 0.3 is three times 0.1."""
    return Fraction(str(number))


def _past_grid(value: float, low: float, step: float) -> Fraction:
    """Return how far ``value`` lies above the nearest grid point (low, low + step, ...) below it."""
    return (_exact(value) - _exact(low)) % _exact(step)
