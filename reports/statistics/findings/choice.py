"""All findings of a report, and the ten that a reader sees first.

A page that opens with thirty sentences is read by nobody. So at most ten open it. If there are more, these are chosen:

1. The first sentence of each topic, and all sentences about pretraining and losses, which answer the question of the
   ablation.
2. Then the others in the order of the topics, until ten are there.

Within a topic, the order is that of its module: all labels before label budgets, the weightiest doubt first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from reports.statistics.findings.doubts import doubts
from reports.statistics.findings.evidence import Evidence
from reports.statistics.findings.finding import TOPICS, Finding
from reports.statistics.findings.losses import instrument_disagreements, label_disagreements, losses
from reports.statistics.findings.methods import against_raw_features, best_methods, open_pairs, pretraining

__all__ = ["MOST", "Findings", "chosen", "findings"]

MOST = 10
"""Sentences that open a report."""


@dataclass(frozen=True)
class Findings:
    """The findings of a report."""

    first: Sequence[Finding]
    """At most ten, in the order of the topics."""
    further: Sequence[Finding] = ()
    """All others."""


def findings(evidence: Evidence) -> Findings:
    """Return what the frames of a report say, in sentences."""
    parts = (
        best_methods,
        against_raw_features,
        pretraining,
        losses,
        instrument_disagreements,
        label_disagreements,
        open_pairs,
        doubts,
    )
    return chosen(list(chain.from_iterable(part(evidence) for part in parts)))


def chosen(found: Sequence[Finding]) -> Findings:
    """Divide findings, given in the order of the topics, into those that open the report and the others."""
    if len(found) <= MOST:
        return Findings(found)
    firsts = {topic: next((n for n, finding in enumerate(found) if finding.topic == topic), -1) for topic in TOPICS}
    leading = [
        n for n, finding in enumerate(found) if finding.topic in ("pretraining", "loss") or n == firsts[finding.topic]
    ]
    others = [n for n in range(len(found)) if n not in leading]
    kept = {*leading[:MOST], *others[: max(0, MOST - len(leading))]}
    return Findings(
        [finding for n, finding in enumerate(found) if n in kept],
        [finding for n, finding in enumerate(found) if n not in kept],
    )
