"""The process of `conclugen`: closed streams, broken pipes, full disks, signals, warnings and what nobody foresaw."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conclugen import __version__

CONCLUGEN = [sys.executable, "-m", "sweeps"]
SHORT = (["--version"], ["features", "verify", "SET"])
"""Commands that print something and end."""


def run(command: list[str], planted: Path, redirection: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a shell, with ``redirection`` behind it."""
    words = [str(planted) if word == "SET" else word for word in command]
    script = f'"$@" {redirection}'
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", script, "bash", *CONCLUGEN, *words],
        capture_output=True, encoding="utf-8", check=False, env=os.environ | variables,
    )  # fmt: skip


def python(script: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``conclugen --version`` in a process that first runs ``script``, which may change what it does."""
    program = f"import sys; sys.argv = ['conclugen', '--version']\n{script}\nfrom sweeps.__main__ import main; main()"
    command = [sys.executable, *options, "-c", program]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, env=os.environ | variables)


INSTEAD = "from sweeps import cli; cli.app = lambda: command()\n"
"""Puts a function named `command` in place of the whole command line."""


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", SHORT, ids=" ".join)
def test_a_stream_that_was_closed_from_the_start_changes_nothing_else(
    command: list[str], planted: Path, closed: str
) -> None:
    result = run(command, planted, closed)
    assert (result.returncode, result.stderr) == (0, "")
    assert (result.stdout == "") == (">&-" in closed.replace("2>&-", ""))


def test_what_a_closed_stream_would_have_shown_is_in_no_file(planted: Path, tmp_path: Path) -> None:
    """The next file that a process opens gets the number of a closed stream."""
    script = f"""
def command():
    file = open({str(tmp_path / "data")!r}, "w")
    print("a message")
    sys.stderr.write("a problem")
    file.write("data")
    file.close()
"""
    program = f"import sys\n{INSTEAD}{script}\nfrom sweeps.__main__ import main; main()"
    subprocess.run(["bash", "-c", '"$@" >&- 2>&-', "bash", sys.executable, "-c", program], check=True)
    assert (tmp_path / "data").read_text(encoding="utf-8") == "data"


@pytest.mark.parametrize("command", SHORT, ids=" ".join)
def test_a_short_command_ends_quietly_where_nobody_reads(command: list[str], planted: Path) -> None:
    result = run(command, planted, "| true")
    assert (result.returncode, result.stdout, result.stderr) == (141, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("command", SHORT, ids=" ".join)
def test_a_full_disk_behind_standard_output_is_one_problem(command: list[str], planted: Path) -> None:
    result = run(command, planted, ">/dev/full")
    problem = "  standard output: No space left on device; choose another place.\n"
    assert (result.returncode, result.stderr) == (2, f"error: 1 problem\n{problem}")


def test_a_broken_disk_behind_standard_output_is_one_problem() -> None:
    """The address 0 of a process can never be written, which is an error of input and output."""
    with Path("/proc/self/mem").open("wb", buffering=0) as broken:
        result = subprocess.run([*CONCLUGEN, "--version"], stdout=broken, stderr=subprocess.PIPE, check=False)
    problem = b"  standard output: Input/output error; choose another place.\n"
    assert (result.returncode, result.stderr) == (2, b"error: 1 problem\n" + problem)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize(("error", "code"), [("KeyboardInterrupt", 130), ("KeyError", 70)])
def test_output_that_cannot_be_written_hides_no_interrupt_and_no_fault(tmp_path: Path, error: str, code: int) -> None:
    script = f"""{INSTEAD}
def command():
    sys.stdout.write("what stays in the buffer")
    raise {error}
"""
    with Path("/dev/full").open("wb") as full:
        program = f"import sys\n{script}\nfrom sweeps.__main__ import main; main()"
        variables = os.environ | {"TMPDIR": str(tmp_path)}
        result = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, check=False, env=variables
        )
    assert result.returncode == code
    assert result.stderr.startswith(b"error: KeyError. This is a fault" if error == "KeyError" else b"")
    assert result.stderr.count(b"\n") == (error == "KeyError")


@pytest.mark.parametrize("lost", ["2>/dev/full", "2>&-"])
def test_standard_error_that_cannot_be_written_keeps_the_exit_code(planted: Path, tmp_path: Path, lost: str) -> None:
    assert run(["features", "info", str(tmp_path)], planted, lost).returncode == 2


@pytest.mark.parametrize("redirection", ["| true", ">/dev/full"])
def test_a_long_command_outlives_its_reader(planted: Path, tmp_path: Path, redirection: str) -> None:
    script = f"""
from pathlib import Path
from sweeps.terminal import outlive_output, output_to_log
def command():
    outlive_output()
    print("begins", flush=True)
    with output_to_log(Path({str(tmp_path / "log")!r})) as console:
        for _ in range(3):
            console.print("a job has ended")
        print("for the log")
    print("ends", flush=True)
"""
    program = f"import sys\n{INSTEAD}{script}\nfrom sweeps.__main__ import main; main()"
    shell = ["bash", "-o", "pipefail", "-c", f'"$@" {redirection}', "bash", sys.executable, "-c", program]
    result = subprocess.run(shell, capture_output=True, encoding="utf-8", check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "for the log\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_signal_that_ends_a_command_lets_it_clean_up(number: signal.Signals) -> None:
    result = python(f"""{INSTEAD}
import os, signal
def command():
    try:
        os.kill(os.getpid(), signal.{number.name})
        signal.pause()
    finally:
        print("cleaned up")
""")
    assert (result.returncode, result.stdout, result.stderr) == (130, "cleaned up\n", "")


def test_a_second_hangup_does_not_interrupt_the_cleaning_up() -> None:
    result = python(f"""{INSTEAD}
import os, signal
def command():
    try:
        os.kill(os.getpid(), signal.SIGHUP)
    finally:
        os.kill(os.getpid(), signal.SIGHUP)
        print("cleaned up")
""")
    assert (result.returncode, result.stdout, result.stderr) == (130, "cleaned up\n", "")


def test_a_hangup_while_python_exits_changes_nothing() -> None:
    result = python(f"""{INSTEAD}
import atexit, os, signal
def command():
    atexit.register(os.kill, os.getpid(), signal.SIGHUP)
""")
    assert (result.returncode, result.stderr) == (0, "")


def test_ctrl_c_while_modules_load_prints_no_traceback() -> None:
    result = python("""
import os, signal
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
""")
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


def test_an_error_that_nobody_foresaw_is_one_line_and_a_file(tmp_path: Path) -> None:
    script = INSTEAD + "def command(): raise KeyError('a name')"
    result = python(script, TMPDIR=str(tmp_path))
    (file,) = tmp_path.iterdir()
    assert (result.returncode, result.stdout) == (70, "")
    assert result.stderr == (
        f"error: KeyError: 'a name'. This is a fault of conclugen {__version__}, not of your input. "
        f"Its traceback is in {file}: report it with that file.\n"
    )
    assert re.search(
        r"^conclugen --version\n.*Traceback .*KeyError: 'a name'\n$", file.read_text(encoding="utf-8"), re.DOTALL
    )


WARNS = """
def command():
    import logging, threading, warnings
    warnings.warn("a library's opinion", FutureWarning)
    logging.getLogger("some.library").warning("a library's message")
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
"""


def test_what_libraries_warn_of_does_not_reach_the_user() -> None:
    assert python(INSTEAD + WARNS).stderr == ""


def test_what_libraries_warn_of_goes_to_the_log_if_there_is_one(tmp_path: Path) -> None:
    logged = WARNS.replace("def command", "def warn")
    result = python(f"""{INSTEAD}{logged}
from pathlib import Path
from sweeps.terminal import output_to_log
def command():
    with output_to_log(Path({str(tmp_path / "log")!r})):
        warn()
""")
    assert (result.stdout, result.stderr) == ("", "")
    log = (tmp_path / "log").read_text(encoding="utf-8")
    for text in ("FutureWarning: a library's opinion", "a library's message", "ZeroDivisionError"):
        assert text in log


@pytest.mark.parametrize("asked", [{"PYTHONWARNINGS": "default"}, {}])
def test_a_user_who_asks_for_warnings_gets_them(asked: dict[str, str]) -> None:
    options = [] if asked else ["-W", "default"]
    result = python(INSTEAD + WARNS, *options, **asked)
    assert "FutureWarning: a library's opinion" in result.stderr


def test_the_processes_that_share_a_report_warn_nobody_either() -> None:
    script = (
        INSTEAD
        + """
def command():
    import subprocess
    arguments = subprocess._args_from_interpreter_flags()  # what the module multiprocessing gives to its processes
    program = "import warnings; warnings.warn('an opinion', FutureWarning)"
    subprocess.run([sys.executable, *arguments, "-c", program], check=True)
"""
    )
    assert python(script).stderr == ""


@pytest.mark.parametrize(
    "waiting",
    [
        "pass",
        "print('more', flush=True)",
        "signal.signal(signal.SIGHUP, signal.SIG_IGN); print('more', flush=True)",
    ],
)
def test_a_terminal_that_is_closed_interrupts_a_command(waiting: str) -> None:
    """A pseudo-terminal whose other end is closed sends SIGHUP, and cannot be written any more."""
    script = f"""{INSTEAD}
import signal
def command():
    print("ready", flush=True)
    while True:
        {waiting}
"""
    leader, follower = os.openpty()
    program = f"import sys\n{script}\nfrom sweeps.__main__ import main; main()"
    take_terminal = "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(1, termios.TIOCSCTTY, 0)"
    restart = f"{take_terminal}; os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    with subprocess.Popen(
        [sys.executable, "-c", restart, "-c", program], stdin=follower, stdout=follower, stderr=follower
    ) as process:
        os.close(follower)
        assert os.read(leader, 5) == b"ready"
        os.close(leader)
    assert process.returncode == 130
