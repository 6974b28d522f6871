"""What decisions need of finished confirmation runs; metrics and predictions stay on disk."""

from sweeps.folder.comparability import confirmation_basis
from sweeps.folder.kept_heads import keepers
from sweeps.ledger import JobKey, Record

__all__ = ["Confirmations"]


class Confirmations:
    """The basis of each run's result (`sweeps.folder.comparability`), and its objective."""

    def __init__(self) -> None:
        self._bases: dict[str, dict[str, str]] = {}  # method -> key of a run -> basis
        self._values: dict[str, dict[str, float]] = {}  # method -> key of a run -> objective

    def add(self, record: Record) -> None:
        """Add a run that has ended."""
        basis = confirmation_basis(record.hyperparameters, record.config, record.features)
        self._bases.setdefault(record.method, {})[record.key] = basis
        if record.value is not None:
            self._values.setdefault(record.method, {})[record.key] = record.value

    def remove(self, key: str) -> None:
        """Forget a run that is to run again; other jobs are left alone."""
        method = JobKey.parse(key).method
        self._bases.get(method, {}).pop(key, None)
        self._values.get(method, {}).pop(key, None)

    def methods(self) -> list[str]:
        """Return the methods that have a run."""
        return list(self._bases)

    def basis(self, method: str, key: str) -> str | None:
        """Return the basis of a run's result; None if the run has not ended."""
        return self._bases.get(method, {}).get(key)

    def outdated(self, method: str, basis: str) -> list[str]:
        """Return the keys of a method's runs whose results have another basis than ``basis``."""
        return [key for key, known in self._bases.get(method, {}).items() if known != basis]

    def superfluous_heads(self, method: str, most: int) -> list[str]:
        """Return the keys of a method's runs, except the ``most`` best on validation data."""
        best = keepers(self._values.get(method, {}), most)
        return [key for key in self._bases.get(method, {}) if key not in best]
