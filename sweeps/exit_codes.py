"""The exit codes of every command; docs/reference/command-line.md explains them to users."""

__all__ = ["BAD_INPUT", "FAULT", "INCOMPLETE", "INTERRUPTED", "OK", "UNREAD"]

OK = 0
INCOMPLETE = 1
BAD_INPUT = 2
FAULT = 70  # EX_SOFTWARE of sysexits.h; Python's own 1 would read as "not all done"
INTERRUPTED = 130
UNREAD = 141  # what a shell says of `cat` when `head` has seen enough
