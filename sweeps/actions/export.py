"""Export: writes model folders, from a confirmed method of a sweep or from the authors' released weights."""

from dataclasses import dataclass
from pathlib import Path

from conclugen.counts import counted
from conclugen.features.standardise import Standardisation
from conclugen.files.durable import DamagedError
from conclugen.heads import RepresentationHeads
from conclugen.hyperparameters import Hyperparameters
from conclugen.model import ConCluGenConfig, ConCluGenHead
from conclugen.sharing.model_folder import (
    ModelCard,
    Score,
    SharingError,
    export_head,
    head_model,
    import_checkpoint,
)
from sweeps.config import ConfigError
from sweeps.folder.kept_heads import best_heads, lost_heads
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import SUMMARY_METRICS, Ledger, Record
from sweeps.trial import load_head

__all__ = ["export_best", "import_released", "load_best"]


def export_best(
    folder: SweepFolder, method: str, out: Path, licence: str | None = None, data_statement: str = ""
) -> Record:
    """Write a model folder with the head of the best confirmation run of ``method`` on validation data.

    Args:
        folder: the sweep folder.
        method: a loss subset or SimCLR, as named in the report's tables; of a later search, such as ``Con~2``.
        out: the folder to write; must not exist or must be empty.
        licence: identifier of the model's licence on the Hub.
        data_statement: Markdown on the people and recordings behind the features.

    Returns:
        The record of the run.

    Raises:
        ConfigError: the sweep has no head of ``method``, the head is damaged, or ``out`` is not empty.
    """
    trained = _best(folder, method)
    card = _card(trained, licence, data_statement)
    try:
        export_head(out, trained.head, trained.standardisation, trained.widths, card)
    except SharingError as error:
        raise ConfigError(str(error).split("\n")) from None
    return trained.record


def load_best(folder: SweepFolder, method: str) -> ConCluGenHead:
    """Return the model that :func:`export_best` would write.

    Raises:
        ConfigError: the sweep has no head of ``method``, or the head is damaged.
    """
    trained = _best(folder, method)
    model = head_model(trained.head, trained.standardisation, trained.widths, _card(trained))
    model.train(False)
    return model


@dataclass(frozen=True)
class _Trained:
    """A kept head with its record."""

    record: Record
    head: RepresentationHeads
    standardisation: Standardisation
    runs: int
    """How many confirmation runs it is the best of."""

    @property
    def widths(self) -> dict[str, int]:
        """Modality -> feature width, in modality order."""
        return {name: len(mean) for name, mean in self.standardisation.mean.items()}


def _card(trained: _Trained, licence: str | None = None, data_statement: str = "") -> ModelCard:
    best = trained.record
    return ModelCard(
        subset=best.method,
        hyperparameters=best.hyperparameters,
        seed=best.seed,
        features_fingerprint=best.features["pretrain"],
        scores=[
            Score(metric.dataset, metric.labels, metric.metric, metric.value)
            for metric in best.metrics
            if metric.split == "test" and metric.metric in SUMMARY_METRICS and not metric.instrument
        ],
        versions=best.versions,
        origin=f"The best on validation data of {counted(trained.runs, 'confirmation run')} of the sweep "
        f"{best.sweep}; the scores are those of this run on test data.",
        licence=licence,
        data_statement=data_statement,
    )


def _best(folder: SweepFolder, method: str) -> _Trained:
    """Load the head of a method's best confirmation run on validation data.

    Raises:
        ConfigError: the sweep has no such head, or it is damaged.
    """
    confirmations = [record for record in Ledger(folder.ledger) if record.stage == "confirm"]
    heads = best_heads(folder, confirmations)
    if (best := heads.get(method)) is None:
        available = f"it has heads of {', '.join(heads)}" if heads else "it has no heads yet"
        lost = any(record.method == method for record, _ in lost_heads(folder, confirmations, most=1))
        remedy = f" {_remedy(folder)}" if lost else ""
        raise ConfigError([f"--subset {method}: {folder.root} has no head of it; {available}.{remedy}"])
    try:
        head, standardisation = load_head(folder.head(best.key), Hyperparameters(**best.hyperparameters))
    except DamagedError as error:
        raise ConfigError([f"{error} {_remedy(folder)}"]) from None
    return _Trained(best, head, standardisation, len(_seeds(confirmations, method)))


def import_released(file: Path, out: Path) -> ConCluGenConfig:
    """Write the heads of a released checkpoint as a model folder; return its configuration.

    Raises:
        ConfigError: the file is no such checkpoint, reading it would execute code, or ``out`` is not empty.
    """
    try:
        return import_checkpoint(file, out)
    except SharingError as error:
        raise ConfigError(str(error).split("\n")) from None


def _remedy(folder: SweepFolder) -> str:
    return f"`conclugen sweep resume {folder.root}` repeats the confirmation run that writes it."


def _seeds(records: list[Record], method: str) -> set[int]:
    return {record.seed for record in records if record.method == method}
