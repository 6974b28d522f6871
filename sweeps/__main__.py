"""The process of `conclugen`: its streams, signals, warnings and faults, around the command line.

Nothing heavy is imported before Ctrl-C is taken care of. What libraries warn of is not for users: it goes to the log of
a sweep or an extraction, and nowhere in a command without a log. PYTHONWARNINGS and ``python -W`` override that.
"""

import gc
import logging
import os
import platform
import shlex
import sys
import tempfile
import threading
import traceback
from types import TracebackType

from sweeps.exit_codes import BAD_INPUT, FAULT, INTERRUPTED, UNREAD
from sweeps.interrupts import end_at_once, end_like_ctrl_c
from sweeps.terminal import OutputLostError, outlive_output, own_streams

__all__ = ["main"]

_SHOWN = 200  # characters of an unforeseen error's message


def main() -> None:
    """Run the command line; console script `conclugen`."""
    try:
        own_streams()
        end_like_ctrl_c()
        _route_warnings()
        code = _run()
    except KeyboardInterrupt:
        code = INTERRUPTED
    outlive_output()  # what an interrupt or a fault has left in the buffer changes no exit code
    end_at_once()
    gc.freeze()  # otherwise Python would search all objects for cycles at exit, for most of a second
    sys.exit(code)


def _run() -> int | str | None:
    """Run the command and return its exit code."""
    code: int | str | None = None
    try:
        try:
            from sweeps.cli import app

            app()
        except SystemExit as end:
            code = end.code
        if code != INTERRUPTED:
            sys.stdout.flush()
    except OutputLostError as error:
        if error.unread:
            return UNREAD
        sys.stderr.write(f"error: 1 problem\n  standard output: {error}; choose another place.\n")
        return BAD_INPUT
    except Exception as error:  # whatever nobody foresaw: the user gets a line, and a developer the traceback
        sys.stderr.write(f"error: {_fault(error)}\n")
        return FAULT
    return code


def _route_warnings() -> None:
    """Send warnings and the errors of threads and destructors to Python's logging, which prints nothing by itself."""
    logging.getLogger().addHandler(logging.NullHandler())  # else logging prints what no handler takes
    threading.excepthook = lambda unhandled: _log(unhandled.exc_type, unhandled.exc_value, unhandled.exc_traceback)
    sys.unraisablehook = lambda unhandled: _log(unhandled.exc_type, unhandled.exc_value, unhandled.exc_traceback)
    if not sys.warnoptions:
        logging.captureWarnings(True)
        sys.warnoptions.append("ignore")  # for the processes that share the work of a report


def _log(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    logging.getLogger("conclugen").error("unhandled", exc_info=(kind, error or kind(), trace))


def _fault(error: Exception) -> str:
    """Write the traceback of ``error`` into a file; return a line for the user."""
    from conclugen import __version__

    summary = f"{type(error).__name__}: {' '.join(str(error).split())[:_SHOWN]}".rstrip(": ")
    versions = f"conclugen {__version__}, Python {platform.python_version()}, {platform.platform()}"
    report = f"{shlex.join(sys.argv)}\n{versions}\n\n{''.join(traceback.format_exception(error))}"
    advice = "".join(f" {note}" for note in getattr(error, "__notes__", ()))
    try:
        descriptor, path = tempfile.mkstemp(prefix="conclugen-fault-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(report)
    except OSError as failure:
        where = f"Its traceback cannot be written ({failure.strerror}); set TMPDIR to a folder that can, and try again."
    else:
        where = f"Its traceback is in {path}: report it with that file."
    return f"{summary}. This is a fault of conclugen {__version__}, not of your input. {where}{advice}"


if __name__ == "__main__":
    main()
