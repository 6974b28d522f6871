"""The best configuration of a method, as a search space that the next sweep starts from.

The first trial of every search is the default configuration of its space. So a space whose defaults are the best
values hands them on: the next sweep tries them first, and its report says what it gained over them. A configuration
without ranges was rejected, because a sweep could not go on from it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conclugen.files.durable import write_whole
from conclugen.settings.documents import dump
from search_spaces import Parameter, Space
from sweeps.ledger import LOSSES, Record, finalist_mean, method_of, winner

__all__ = ["Best", "best_of", "why_none"]


@dataclass(frozen=True)
class Best:
    """The configuration that won a method's search."""

    method: str
    """The method's name in records."""
    trial: str
    """Key of the search trial."""
    value: float
    """The trial's objective on validation data."""
    hyperparameters: Mapping[str, Any]
    """The values of all hyperparameters that the method uses."""
    space: Space
    """The sweep's search space."""
    retrained: float | None = None
    """Mean objective of the configuration's runs as a finalist, which decided; None if it was no finalist."""

    @property
    def default(self) -> bool:
        """Whether the defaults of the sweep's space are the best values."""
        defaults = self.space.default_configuration(LOSSES[method_of(self.method)])
        return all(self.hyperparameters.get(name) == value for name, value in defaults.items())

    def to_space(self) -> dict[str, Any]:
        """Return the sweep's search space as a document, with the best values as defaults.

        A value that the space does not allow, which a warm start may have brought, becomes the nearest allowed one.
        """
        parameters = {
            name: _with_default(parameter, self.hyperparameters.get(name))
            for name, parameter in self.space.parameters.items()
        }
        description = f"{self.space.description.strip()} Defaults are the best of {self.method} ({self.trial})."
        rest = self.space.model_dump(mode="json", include={"weights", "prior"}, exclude_defaults=True)
        return {"description": description, **rest, "parameters": parameters}

    def to_yaml(self, path: str | Path) -> Path:
        """Write :meth:`to_space` as a YAML file, for ``space:`` of the next sweep; return its path.

        Raises:
            OSError: the file cannot be written.
        """
        write_whole(Path(path), dump(self.to_space()).encode())
        return Path(path)


def best_of(records: Iterable[Record], method: str, space: Space, finalists: int) -> Best | None:
    """Return the best configuration of a method's search; None if no trial ran its whole budget.

    Args:
        records: the sweep's records.
        method: the method's name in records.
        space: the sweep's search space.
        finalists: the sweep's ``search.finalists``.
    """
    own = [record for record in records if record.method == method]
    trials = [record for record in own if record.stage == "search"]
    runs = [record for record in own if record.stage == "finalist"]
    best = winner(trials, runs, finalists)
    if best is None or best.value is None:
        return None
    used = space.for_losses(LOSSES[method_of(method)])  # a record has a value for the others, too
    values = {name: value for name, value in best.hyperparameters.items() if name in used}
    return Best(method, best.key, best.value, values, space, finalist_mean(best.number, runs))


def why_none(records: Iterable[Record], method: str) -> str:
    """Return why a method has no best configuration: no trial has ended, or all failed or were pruned."""
    trials = [record for record in records if record.method == method and record.stage == "search"]
    failed = Counter(record.failure_class for record in trials if record.state == "failed")
    reasons = ", ".join(f"{count} {reason}" for reason, count in failed.most_common())
    if not trials:
        return "no trial has ended yet."
    if failed.total() == len(trials):
        return f"every trial failed ({reasons}); `conclugen sweep status DIR --failed` says why."
    return f"no trial has run its whole budget: {len(trials) - failed.total()} pruned, {failed.total()} failed."


def _with_default(parameter: Parameter, value: object) -> Any:
    """Return a parameter as it is written in a space; ``value``, if there is one, is its default."""
    document = parameter.document()
    if parameter.fixed is not None:
        return document
    nearest = parameter.nearest(value) if isinstance(value, bool | int | float | str) else None
    return document if nearest is None else document | {"default": nearest}
