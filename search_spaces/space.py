"""Search spaces: read them from YAML, and check them against sampler and budget.

A space says which hyperparameters vary over which values, for which loss subsets. It is one YAML file. Each entry under
``parameters`` is either a plain value (fixed) or a mapping::

    representation_dim: {choices: [256, 512], default: 256}
    lr: {low: 1.0e-4, high: 3.0e-3, log: true, default: 1.0e-3}
    num_clusters: {low: 8, high: 32, step: 8, default: 16}
    reconstruction_relu: false
    feature_dropout: {fixed: 0.5, needs: [Con, Clu], min_losses: 2}

Names are the fields of :class:`conclugen.hyperparameters.Hyperparameters`. Its annotations say which values are allowed
and which losses use a hyperparameter; a subset without these losses does not search it. Two conditions narrow that:
``needs`` names losses of which the subset must use at least one, ``min_losses`` is the least number of losses in the
subset. A range with integer bounds is a range of integers.

``weights: relative`` at the top of the file says that a loss's weight is relative to that of the subset's first loss,
which is 1. AdamW is blind to a common factor of all weights, so the absolute weights of two losses are one dimension
too many. Without the line, every weight is searched, as in the released code.

``prior`` names parameters whose good values the user expects somewhere (`search_spaces.prior`). The joint sampler tries
these values first, and trusts the prior less with each trial.

The first trial of every subset is its default configuration (the ``default`` of each parameter). So a report can say
how much tuning gained.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError, model_validator

from conclugen.counts import counted
from conclugen.hyperparameters import HYPERPARAMETERS, USES
from conclugen.settings.documents import DocumentError, read_settings
from conclugen.settings.wording import problems_of, suggestion
from conclugen.subsets import Loss
from search_spaces.parameter import Parameter, Scalar
from search_spaces.prior import Prior, prior_of

__all__ = ["Adaptation", "Space", "SpaceError", "load_space", "named_space_text", "named_spaces", "weight_of"]


class SpaceError(ValueError):
    """A space that cannot be read; ``problems`` has one message for each thing that is wrong with it."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class _UnknownError(ValueError):
    """A parameter's name is no hyperparameter; the message needs no value beside it."""


_NAMES = ", ".join(sorted(HYPERPARAMETERS))
_LEAST_BATCH = 2  # as batch statistics need
_PUBLISHED = "paper"  # the named space that repeats a published search


def _with_names(parameters: object) -> object:
    """Pair each entry with its name, which pydantic does not pass to an entry's validator."""
    if not isinstance(parameters, Mapping):
        return parameters
    return {name: (name, entry) for name, entry in parameters.items()}


def _parameter(named_entry: tuple[str, object]) -> Parameter:
    name, entry = named_entry
    if name not in HYPERPARAMETERS:
        near = suggestion(name, HYPERPARAMETERS)
        raise _UnknownError(f"is no hyperparameter.{near or f' Allowed are {_NAMES}.'}")
    values = entry if isinstance(entry, Mapping | Parameter) else {"fixed": entry}
    return Parameter.model_validate(values, context={"hyperparameter": name})


class Adaptation(BaseModel):
    """How a named space was fitted to the training samples; a sweep's folder keeps it with the space that ran."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    space: Annotated[str, Field(description="the named space")]
    samples: Annotated[int, Field(description="training samples of the pretraining set")]
    changes: Annotated[tuple[str, ...], Field(description="what has other values than in the named space")]

    def __str__(self) -> str:
        """Return the sentences that `sweep check`, `sweep run` and the report show."""
        loss = " It no longer repeats the published search." if self.space == _PUBLISHED else ""
        return (
            f"Space {self.space} is adapted to {counted(self.samples, 'training sample')}: {'; '.join(self.changes)}."
            f"{loss}"
        )


class Space(BaseModel):
    """A search space: which hyperparameters vary, over which values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: Annotated[str, Field(description="what the space is for, in a sentence")]
    parameters: Annotated[
        Mapping[str, Annotated[Parameter, PlainValidator(_parameter)]],
        BeforeValidator(_with_names),
        Field(description="a line for each hyperparameter, such as `lr: 1e-3`"),
    ]
    weights: Annotated[
        Literal["absolute", "relative"],
        Field(description="relative: the first loss of a subset has weight 1, and only the others' weights vary"),
    ] = "absolute"

    prior: Annotated[
        Mapping[str, Any],
        Field(description="where good values are expected: `lr: [1e-3, 0.7]` for a range, `{256: 3}` for choices"),
    ] = {}
    adapted: Annotated[
        Adaptation | None,
        Field(description="written by a sweep into its folder, if its named space was fitted to the training samples"),
    ] = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = list[str]()
        first = weight_of(next(iter(Loss)))
        if self.weights == "relative" and first in self.parameters:
            problems.append(
                f"{first}: with `weights: relative`, the other weights are relative to it, and it is 1; leave it out."
            )
        for name, given in self.prior.items():
            if name not in self.parameters:
                near = suggestion(name, self.parameters)
                problems.append(f"prior.{name}: is no parameter of the space.{near}")
                continue
            try:
                prior_of(self.parameters[name], given)
            except ValueError as error:
                problems.append(f"prior.{name}: {error}")
        if problems:
            raise SpaceError(problems)
        return self

    @property
    def priors(self) -> dict[str, Prior]:
        """Name of a parameter -> its prior, for those that have one."""
        return {name: prior_of(self.parameters[name], given) for name, given in self.prior.items()}

    def document(self) -> dict[str, Any]:
        """Return the space as it is written in a YAML file."""
        parameters = {name: parameter.document() for name, parameter in self.parameters.items()}
        rest = self.model_dump(mode="json", exclude={"parameters"}, exclude_defaults=True)
        return {**rest, "parameters": parameters}

    def unsuitable(self, sampler: str, subsets: Mapping[str, Sequence[Loss]], trials: int | None) -> list[str]:
        """Return the reasons why a sampler cannot search the space, each with a remedy.

        Args:
            sampler: name of the sampler; grid needs finitely many values and at least as many points as trials, cmaes
                knows ranges only.
            subsets: searched subset -> its losses.
            trials: of each subset; None if the budget is a time.
        """
        problems: list[str] = []
        unlisted: dict[str, None] = {}
        unordered: dict[str, None] = {}
        for subset, losses in subsets.items():
            free = {name: p for name, p in self.for_losses(losses).items() if p.fixed is None}
            continuous = [name for name, parameter in free.items() if parameter.count is None]
            categorical = [name for name, parameter in free.items() if parameter.choices is not None]
            points = math.prod(parameter.count or 0 for parameter in free.values())
            if sampler == "grid" and continuous:
                unlisted |= dict.fromkeys(continuous)
            elif sampler == "grid" and trials is None:
                problems.append("a grid needs a number of trials, not a time; give budget.trials_per_subset.")
            elif sampler == "grid" and trials is not None and points < trials:
                problems.append(f"the grid of {subset} has {points} points for {trials} trials; lower the budget.")
            elif sampler == "cmaes" and categorical:
                unordered |= dict.fromkeys(categorical)
        if self.prior and sampler != "joint":
            problems.append(f"prior: only search.sampler joint reads it, not {sampler}; choose joint, or leave it out.")
        if unlisted:
            problems.append(f"a grid needs finitely many values: give {', '.join(unlisted)} choices or a step.")
        if unordered:
            problems.append(f"cmaes searches ranges only: fix {', '.join(unordered)}, or give them a range.")
        return list(dict.fromkeys(problems))

    def for_losses(self, losses: Sequence[Loss]) -> dict[str, Parameter]:
        """Return the parameters, fixed ones included, that a subset with these losses uses."""
        first = weight_of(losses[0]) if self.weights == "relative" and losses else None
        return {
            name: parameter
            for name, parameter in self.parameters.items()
            if name != first and USES[name].by(losses) and parameter.applies(losses)
        }

    def default_configuration(self, losses: Sequence[Loss]) -> dict[str, Scalar]:
        """Return the default or fixed value of each parameter that a subset with these losses uses."""
        return {name: parameter.start for name, parameter in self.for_losses(losses).items()}

    def problems(
        self,
        subsets: Mapping[str, Sequence[Loss]],
        *,
        epochs: int,
        first_rung: Callable[[int], int | None],
        rows: int | None,
        workers: int = 1,
    ) -> list[str]:
        """Return the contradictions between the space and the budget, each with a remedy.

        Args:
            subsets: searched subset -> its losses.
            epochs: of a full trial.
            first_rung: epochs of a full trial -> epoch after which a trial can first be pruned; None without pruning.
            rows: training samples of the pretraining set; None if unknown.
            workers: number of workers that share a batch.
        """
        problems: list[str] = []
        starts: dict[tuple[str, str], list[str]] = {}
        for name, losses in subsets.items():
            batches = self._integers("batch_size", losses)
            if rows is not None and max(batches) > rows:
                problems.append(
                    f"batch_size: up to {max(batches)} of {rows} training samples; lower it to at most {rows}."
                )
            if uneven := [size for size in batches if size % workers]:
                problems.append(
                    f"batch_size: {workers} workers cannot share a batch of {uneven[0]} samples evenly; use multiples "
                    f"of {workers} or other workers.per_trial."
                )
            if Loss.CLU in losses:
                for start, rest in self._problems_of_start(losses, epochs, first_rung):
                    starts.setdefault((start, rest), []).append(name)
                problems += self._problems_of_clusters(losses, rows)
            if (warmup := max(self._integers("warmup_epochs", losses))) >= epochs:
                problems.append(
                    f"warmup_epochs: up to {warmup} epochs of warm-up in a budget of {epochs}; raise budget.epochs "
                    f"above {warmup} or lower warmup_epochs."
                )
        problems += [f"{start} for {', '.join(names)}, {rest}" for (start, rest), names in starts.items()]
        return list(dict.fromkeys(map(self._with_source, problems)))

    def _with_source(self, problem: str) -> str:
        """Say where the value of a problem comes from, if the space does not name the hyperparameter."""
        name, _, rest = problem.partition(": ")
        if name in self.parameters:
            return problem
        return f"{name}: not named in the space, so it is {HYPERPARAMETERS[name].default}: {rest}"

    def _problems_of_start(
        self, losses: Sequence[Loss], epochs: int, first_rung: Callable[[int], int | None]
    ) -> Iterator[tuple[str, str]]:
        """Yield the two parts of a message, between which the names of the subsets stand."""
        latest = max(self._integers("kmeans_start_epoch", losses))
        if latest >= epochs:
            yield (
                f"kmeans_start_epoch: up to {latest}, counted from 0,",
                f"but trials have {epochs} epochs, and clustering would begin after the last; lower it below {epochs}, "
                f"or raise budget.epochs above {latest}.",
            )
        elif (first := first_rung(epochs)) is not None and latest >= first:
            more = range(epochs + 1, 5 * (latest + 1) + 1)  # of as many as five times the epochs, rungs are far apart
            enough = next((n for n in more if (rung := first_rung(n)) is None or rung > latest), None)
            longer = f"raise budget.epochs to {enough}, " if enough else ""
            yield (
                f"kmeans_start_epoch: up to {latest}",
                f"but trials are first judged after epoch {first} of {epochs}, before clustering has begun; lower "
                f"it below {first}, {longer}set probe.every to {latest + 1}, or search.pruner to none.",
            )

    def _problems_of_clusters(self, losses: Sequence[Loss], rows: int | None) -> Iterator[str]:
        if rows is None:
            return
        # A trial may combine any batch size with any queue and any number of clusters. ``problems`` reports a batch
        # that is larger than the set.
        batches = [min(size, rows) for size in self._integers("batch_size", losses)]
        steps = rows // max(batches)
        longest_queue = max(self._integers("kmeans_queue_size", losses))
        if longest_queue >= steps:
            largest = rows // (longest_queue + 1)
            shorter = f"at most {steps - 1}" if steps > 1 else "0, which is no queue"
            yield (
                f"kmeans_queue_size: a queue of {counted(longest_queue, 'batch', 'batches')} never fills in the "
                f"{counted(steps, 'step')} of an epoch ({rows} rows, batches of {max(batches)}); lower it to {shorter}"
                + (f", or batch_size to at most {largest}." if largest >= _LEAST_BATCH else ".")
            )
        # Until the queue is full, k-means sees a single batch.
        most_clusters = max(self._integers("num_clusters", losses))
        if most_clusters > min(batches):
            yield (
                f"num_clusters: {most_clusters} clusters of a batch of {min(batches)} samples; lower it to "
                f"at most {min(batches)}."
            )

    def _integers(self, name: str, losses: Sequence[Loss]) -> list[int]:
        """Return the extremes of an integer hyperparameter in such a subset, and also the second value of a range."""
        parameter = self.for_losses(losses).get(name, Parameter(fixed=HYPERPARAMETERS[name].default))
        extremes = [int(value) for value in parameter.extremes()]
        inner = [extremes[0] + int(parameter.step or 1)] if len(set(extremes)) > 1 and parameter.integral else []
        return [*extremes, *(value for value in inner if value < extremes[-1])]


def weight_of(loss: Loss) -> str:
    """Return the hyperparameter that is the weight of a loss."""
    return f"weight_{loss.lower()}"


def named_spaces() -> list[str]:
    """Return the names of the spaces that come with the package."""
    return sorted(file.name.removesuffix(".yaml") for file in _folder().iterdir() if file.name.endswith(".yaml"))


def _folder() -> Any:
    return resources.files(__package__)


def named_space_text(name: str) -> bytes:
    """Return the YAML of a named space, as it comes with the package."""
    content: bytes = (_folder() / f"{name}.yaml").read_bytes()
    return content


def load_space(name: str) -> Space:
    """Load a named space, or the YAML file at the path ``name``.

    Raises:
        SpaceError: there is no such space or file, or it is not valid.
    """
    named = name in named_spaces()
    if not named and not os.path.isfile(name):  # Path(name).is_file() raises on a name too long for the file system
        near = suggestion(os.path.basename(name), named_spaces())
        raise SpaceError([f"{name!r} is neither a named space ({', '.join(named_spaces())}) nor a YAML file.{near}"])
    file = _folder() / f"{name}.yaml" if named else Path(name)
    try:
        return Space.model_validate(read_settings(file))
    except DocumentError as error:
        problems = error.problems
    except ValidationError as error:
        problems = problems_of(error, Space)
    raise SpaceError([f"{name}: {problem}" for problem in problems])
