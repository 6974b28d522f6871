"""The error of a report that cannot be made; the module loads nothing, so a refusal comes at once."""

from sweeps.ledger import LedgerError

__all__ = ["ReportError"]


class ReportError(LedgerError):
    """A report cannot be made, or not be written; the message has one line for each problem."""
