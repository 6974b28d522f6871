"""The instruments that read what a representation is worth off labelled data.

``logistic`` is the probe: a convex problem, solved to its optimum. ``knn`` fits nothing at all. ``paper`` is what the
released code trains, which stops far from its optimum on small sets. A conclusion that holds by one of them only is
about the instrument.
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
        instrument: which kind.
        data: what to learn from, and which validation samples choose.
        paper: settings of the paper's probe; None for the defaults.
        seed: of the paper's probe; the others leave nothing to chance.
        precision: of the logistic probe.

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
