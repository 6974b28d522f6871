"""What a report found, in at most ten sentences that were computed from its tables."""

from reports.statistics.findings.choice import Findings, findings
from reports.statistics.findings.finding import Finding, Topic

__all__ = ["Finding", "Findings", "Topic", "findings"]
