"""Search spaces: which hyperparameters vary over which ranges, for which loss subsets.

A space is one YAML file. Each entry under ``parameters`` is either a plain value (fixed) or a mapping::

    representation_dim: {choices: [256, 512], default: 256}
    lr: {low: 1.0e-4, high: 3.0e-3, log: true, default: 1.0e-3}
    kmeans_queue_size: {low: 0, high: 4, step: 2, default: 2, needs: Clu}
    weight_con: {low: 0.01, high: 1.1, log: true, default: 1.0, needs: Con, min_losses: 2}
    reconstruction_relu: {fixed: false, needs: Gen}

``needs`` names losses of which the subset must use at least one, ``min_losses`` the least number of losses in the
subset: a parameter whose condition fails is left out of that subset's search. Names are the fields of
:class:`conclugen.hyperparameters.Hyperparameters`; a range is of integers where its bounds are.

The default configuration of every subset (the ``default`` of each parameter) is its first trial, so a report can say
what tuning was worth.
"""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from conclugen.hyperparameters import HYPERPARAMETERS, Hyperparameters
from conclugen.subsets import Loss

__all__ = ["Parameter", "Space", "SpaceError", "load_space", "named_spaces"]

Scalar = bool | int | float | str


class SpaceError(ValueError):
    """A space cannot be read; ``problems`` lists everything that is wrong with it, one message each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class Parameter(BaseModel):
    """How one hyperparameter varies: fixed, one of some choices, or in a range."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fixed: Scalar | None = None
    choices: tuple[Scalar, ...] | None = None
    low: int | float | None = None
    high: int | float | None = None
    step: int | float | None = None
    log: bool = False
    default: Scalar | None = None
    needs: Annotated[frozenset[Loss], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)] = (
        frozenset()
    )
    min_losses: Annotated[int, Field(ge=1, le=3)] = 1

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [self.fixed is not None, self.choices is not None, self.low is not None or self.high is not None]
        if sum(kinds) != 1:
            raise ValueError("give exactly one of: fixed; choices; low and high.")
        if self.fixed is not None:
            return self
        if self.choices is not None:
            if self.default not in self.choices:
                raise ValueError(f"default must be one of the choices {list(self.choices)}, but got {self.default!r}.")
            return self
        low, high, default = self.low, self.high, self.default
        if low is None or high is None or not low <= high:
            raise ValueError(f"low <= high must hold, but got low={low}, high={high}.")
        if not isinstance(default, int | float) or not low <= default <= high:
            raise ValueError(f"default must lie in {low}..{high}, but got {default!r}.")
        if self.log and (low <= 0 or self.step is not None):
            raise ValueError("a log range needs low > 0 and no step.")
        return self

    @property
    def integral(self) -> bool:
        """True for a range of integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def start(self) -> Scalar:
        """The value in the default configuration."""
        value = self.default if self.fixed is None else self.fixed
        if value is None:
            raise ValueError("a parameter has a fixed value or a default.")  # the validator saw to it
        return value

    def extremes(self) -> tuple[Scalar, ...]:
        """All values of a fixed or categorical parameter, the two bounds of a range."""
        if self.choices is not None:
            return self.choices
        if self.low is not None and self.high is not None:
            return (self.low, self.high)
        return (self.start,)

    def applies(self, losses: Sequence[Loss]) -> bool:
        """True where a subset with these losses uses the parameter."""
        return len(losses) >= self.min_losses and (not self.needs or bool(self.needs & set(losses)))


def _fixed_shorthand(value: object) -> object:
    return value if isinstance(value, Mapping | Parameter) else {"fixed": value}


class Space(BaseModel):
    """A named search space."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str
    parameters: Mapping[str, Annotated[Parameter, BeforeValidator(_fixed_shorthand)]]

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        if unknown := sorted(set(self.parameters) - set(HYPERPARAMETERS)):
            raise ValueError(
                f"unknown hyperparameters {', '.join(unknown)}; allowed are {', '.join(sorted(HYPERPARAMETERS))}."
            )
        return self

    def for_losses(self, losses: Sequence[Loss]) -> dict[str, Parameter]:
        """The parameters, fixed ones included, that a subset with these losses uses."""
        return {name: parameter for name, parameter in self.parameters.items() if parameter.applies(losses)}

    def default_configuration(self, losses: Sequence[Loss]) -> dict[str, Scalar]:
        """Each parameter's default or fixed value for a subset with these losses."""
        return {name: parameter.start for name, parameter in self.for_losses(losses).items()}

    def problems(
        self, subsets: Mapping[str, Sequence[Loss]], *, epochs: int, first_rung: int, rows: int | None
    ) -> list[str]:
        """Where the space contradicts the budget, one message each with the remedy.

        Args:
            subsets: the subsets that are searched.
            epochs: epochs of a full trial.
            first_rung: epoch of the first validation after which a trial can be pruned.
            rows: training samples of the pretraining set, None where unknown.
        """
        found: list[str] = []
        clustered = {name: losses for name, losses in subsets.items() if Loss.CLU in losses}
        for name, losses in clustered.items():
            used = self.for_losses(losses)
            if "kmeans_start_epoch" in used:
                latest = max(_integers(used["kmeans_start_epoch"]))
                if len(losses) == 1 and latest > 0:
                    found.append(
                        f"kmeans_start_epoch: up to {latest} for {name}, which has no other loss to train with before "
                        "it; fix it to 0 there (min_losses: 2)."
                    )
                elif latest >= first_rung:
                    found.append(
                        f"kmeans_start_epoch: up to {latest} for {name}, but trials are first judged after epoch "
                        f"{first_rung} of {epochs}, before clustering has begun; lower it below {first_rung} or raise "
                        "budget.epochs."
                    )
        defaults = Hyperparameters()
        if rows is not None and clustered:
            smallest_batch = min(_integers(self._parameter("batch_size", defaults.batch_size)))
            longest_queue = max(_integers(self._parameter("kmeans_queue_size", defaults.kmeans_queue_size)))
            steps = max(1, rows // smallest_batch)
            if longest_queue >= steps:
                found.append(
                    f"kmeans_queue_size: a queue of {longest_queue} batches never fills in the {steps} steps of an "
                    f"epoch ({rows} rows, batches of {smallest_batch}); lower it below {steps} or use smaller batches."
                )
            largest_batch = min(rows, smallest_batch)
            most_clusters = max(_integers(self._parameter("num_clusters", defaults.num_clusters)))
            if most_clusters > largest_batch:
                found.append(
                    f"num_clusters: {most_clusters} clusters of a batch of {largest_batch} samples; lower it to "
                    f"at most {largest_batch}."
                )
        if isinstance(warmup := self._parameter("warmup_epochs", defaults.warmup_epochs).start, int) and (
            warmup >= epochs
        ):
            found.append(
                f"warmup_epochs: {warmup} epochs of warm-up in a budget of {epochs}; raise budget.epochs above "
                f"{warmup} or lower warmup_epochs."
            )
        return found

    def _parameter(self, name: str, released: Scalar) -> Parameter:
        return self.parameters.get(name, Parameter(fixed=released))


def _integers(parameter: Parameter) -> list[int]:
    return [int(value) for value in parameter.extremes()]


def named_spaces() -> list[str]:
    """Names of the spaces that come with the package."""
    return sorted(file.name.removesuffix(".yaml") for file in _folder().iterdir() if file.name.endswith(".yaml"))


def _folder() -> Any:
    return resources.files(__package__)


def load_space(name: str) -> Space:
    """Load a named space, or the YAML file at the path ``name``.

    Raises:
        SpaceError: no such space or file, or it is not valid.
    """
    if name in named_spaces():
        text = (_folder() / f"{name}.yaml").read_text()
    elif (path := Path(name)).is_file():
        text = path.read_text()
    else:
        raise SpaceError([f"{name!r} is neither a named space ({', '.join(named_spaces())}) nor a YAML file."])
    try:
        return Space.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise SpaceError([f"{name} is not valid YAML: {error}"]) from None
    except ValidationError as error:
        raise SpaceError(
            [f"{name}: {'.'.join(map(str, e['loc'])) or 'space'}: {e['msg']}" for e in error.errors()]
        ) from None
