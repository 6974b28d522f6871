"""The instruments that measure a representation on labelled data.

``logistic`` is the probe: a convex problem, solved to its optimum. ``knn`` fits nothing. ``paper`` is the probe of the
released code, which stops far from its optimum on small sets. A conclusion that holds for one instrument only is a
conclusion about the instrument.
"""

from typing import Literal

from conclugen.evaluation.classification import Classifiers
from conclugen.evaluation.draws import LabelledDraws
from conclugen.evaluation.logistic import WHOLE, Precision, fit_logistic_probes
from conclugen.evaluation.neighbours import fit_nearest_neighbours
from conclugen.evaluation.paper_probe import PaperSettings, fit_paper_probes

__all__ = ["Instrument", "fit_probes"]

Instrument = Literal["logistic", "knn", "paper"]


def fit_probes(
    instrument: Instrument,
    data: LabelledDraws,
    *,
    paper: PaperSettings | None = None,
    seed: int = 0,
    precision: Precision = WHOLE,
) -> Classifiers:
    """Fit a classifier to each label draw.

    Args:
        instrument: kind of the classifiers.
        data: the draws.
        paper: settings of the paper's probe; None for the defaults.
        seed: seed of the paper's probe; the other instruments are deterministic.
        precision: precision of the logistic probe.

    Raises:
        ValueError: a representation is not finite.
    """
    if not (data.x.isfinite().all() and data.validation_x.isfinite().all()):
        raise ValueError("a representation is not finite; the head, or the features, hold NaN or infinity.")
    if instrument == "knn":
        return fit_nearest_neighbours(data)
    if instrument == "paper":
        return fit_paper_probes(data, paper or PaperSettings(), seed)
    return fit_logistic_probes(data, precision)
