"""Starting and resuming a sweep: what is refused, what is written into its folder, and when its session begins."""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from conclugen.features.classes import Findings
from conclugen.features.manifest import damaged_shards
from conclugen.files.durable import write_whole
from sweeps.actions.sweep_run import SweepRun
from sweeps.config import ConfigError, SweepConfig, load_config
from sweeps.estimate.labels import label_findings
from sweeps.estimate.refusals import LATER
from sweeps.folder.layout import SweepFolder
from sweeps.folder.lock import held
from sweeps.folder.sessions import Sessions
from sweeps.interrupts import Interrupts
from sweeps.ledger import Ledger
from sweeps.search.journal import mend_journal
from sweeps.search.storage import open_storage
from sweeps.search.warm_start import warm_start_problems

__all__ = ["launch", "resume"]


def launch(config: SweepConfig, root: Path, interrupts: Interrupts, address: str | None = None) -> None:
    """Run a new sweep in the folder ``root`` to its end.

    Args:
        config: the sweep.
        root: the sweep folder; created if missing, must be empty otherwise.
        interrupts: signals that ask the sweep to end.
        address: Ray cluster to run on; None for the one that RAY_ADDRESS names, or else a new one on this machine.

    Raises:
        ConfigError: the folder is taken, there is no such cluster, the cluster lacks what the sweep needs, a tracker is
            missing, or the earlier sweep of ``search.warm_start`` cannot be read; nothing is written.
        SweepFailedError: the sweep stopped early.
        KeyboardInterrupt: the sweep was asked to end, and everything is saved.
    """
    folder = SweepFolder(root)
    problems, warnings = _unusable(config)
    if problems := [*_not_utf8(root), *folder.occupation, *problems]:
        raise ConfigError(problems)
    new_folders = [path for path in (root, *root.parents) if not path.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([_unwritable(root, error)]) from None
    with held(folder):
        if folder.occupation:  # another process may have begun a sweep here before this one held the lock
            raise ConfigError(folder.occupation)
        try:
            _prepare(folder, config)
            config = load_config(folder.config, written=True)  # with the space in the folder, as in later sessions

            def begin(say: Callable[[str], None]) -> None:
                Sessions(folder).begin(config)
                for warning in warnings:
                    say(warning)

            SweepRun(
                config=config,
                folder=folder,
                interrupts=interrupts,
                address=address,
                begin=begin,
            ).run()
        except ConfigError:
            _remove(folder, new_folders)
            raise


def resume(
    root: Path,
    interrupts: Interrupts,
    overrides: Sequence[str] = (),
    address: str | None = None,
    *,
    failed: bool = False,
    accept_changes: bool = False,
) -> None:
    """Continue the sweep in the folder ``root`` to its end; a larger budget extends a finished sweep.

    Args:
        root: the sweep folder, wherever it lies now.
        interrupts: signals that ask the sweep to end.
        overrides: settings that change from now on, ``dotted.key=value`` each.
        address: as for :func:`launch`.
        failed: run failed jobs again.
        accept_changes: go on even where later results do not compare with earlier ones.

    Raises:
        ConfigError: the folder holds no sweep, another process runs the sweep, results would not compare any more, or
            for a reason that :func:`launch` names; nothing is written, except that damaged files are set aside.
        LedgerError: the ledger cannot be read, for another reason than damage.
        SweepFailedError: the sweep stopped early.
        KeyboardInterrupt: the sweep was asked to end, and everything is saved.
    """
    folder = SweepFolder(root)
    if problems := _not_utf8(root):
        raise ConfigError(problems)
    with held(folder):
        try:
            config = load_config(folder.config, overrides, written=True, later=LATER)
            problems, warnings = _unusable(config)
        except ConfigError as error:
            raise ConfigError([_without_warm_start(problem) for problem in error.problems]) from None
        changes = Sessions(folder).changes(config)
        if changes and not accept_changes:
            remedy = (
                f"Set {'this' if len(changes) == 1 else 'all of these'} back, with --set or in {folder.config}; or "
                "continue all the same with --accept-changes, which puts that on record."
            )
            problems += [*changes[:-1], f"{changes[-1]} {remedy}"]
        if problems:
            raise ConfigError([_without_warm_start(problem) for problem in problems])
        with _put_back_unless_begun(folder) as begun:

            def begin(say: Callable[[str], None]) -> None:
                _last_refusals(config, folder, say)
                with interrupts.deferred():  # the session on record and the folder's configuration change together
                    messages = Sessions(folder).begin(config, changes)
                    begun()
                    for message in (*messages, *warnings):
                        say(message)
                    for partial in (*folder.root.glob(".*.partial"), *folder.heads.glob(".*.partial")):
                        partial.unlink()

            _prepare(folder, config)
            SweepRun(
                config=config,
                folder=folder,
                interrupts=interrupts,
                address=address,
                begin=begin,
                retry_failed=failed,
            ).run()


@contextmanager
def _put_back_unless_begun(folder: SweepFolder) -> Iterator[Callable[[], None]]:
    """Restore the former configuration and space at an error, unless the body has called the yielded function.

    The new ones are written before the session begins, because the nodes of a cluster check the files in the folder. If
    the process is killed meanwhile, the files stay. The next session finds that they differ from the recorded ones.
    """
    former = {path: path.read_bytes() if path.exists() else None for path in (folder.space, folder.config)}
    begun = False

    def keep() -> None:
        nonlocal begun
        begun = True

    try:
        yield keep
    except BaseException:
        for path, content in former.items() if not begun else ():
            if content is None:
                path.unlink(missing_ok=True)
            else:
                write_whole(path, content)
        raise


def _last_refusals(config: SweepConfig, folder: SweepFolder, say: Callable[[str], None]) -> None:
    """Mend journal and ledger, then refuse the sweep if a record or the storage cannot be read."""
    ledger = Ledger(folder.ledger)
    for message in (*mend_journal(folder), *ledger.mend()):
        say(message)
    for _ in ledger:  # reading raises if a record has another format
        pass
    try:
        open_storage(config, folder)
    except ConfigError as error:  # SQLAlchemy explains itself on further lines
        raise ConfigError([problem.partition("\n")[0] for problem in error.problems]) from None


def _without_warm_start(problem: str) -> str:
    """Add a remedy to a problem with ``search.warm_start``, which a sweep that has begun does not need."""
    named = re.search(r"\bsearch\.warm_start(\.\d+)?: ", problem)  # behind the name of the configuration's file
    return f"{problem} The sweep can go on without: --set search.warm_start=null." if named else problem


def _prepare(folder: SweepFolder, config: SweepConfig) -> None:
    try:
        folder.prepare(config)
    except OSError as error:
        raise ConfigError([_unwritable(folder.root, error)]) from None


def _unwritable(root: Path, error: OSError) -> str:
    return f"{root}: cannot be written: {error.strerror}; choose another folder, or make it writable."


def _not_utf8(root: Path) -> list[str]:
    """Return a problem if the path of a sweep folder is not UTF-8 on disk: Ray would make another one beside it."""
    path = os.path.abspath(root)
    if os.fsencode(path) == path.encode("utf-8", "replace"):
        return []
    return [f"{root}: is not UTF-8 on disk, as Ray needs it; rename the folders of this path, or choose another."]


def _unusable(config: SweepConfig) -> tuple[list[str], list[str]]:
    """Return problems and warnings that show before Ray starts. The check reads all shards of the feature sets."""
    sets = dict.fromkeys([config.features.pretrain, *config.features.downstream.values()])
    damaged = [f"features: {problem}" for path in sets for problem in damaged_shards(path)]
    findings = Findings() if damaged else label_findings(config, fetch=True)
    warnings = [f"Warning: {note}" for note in findings.notes]
    return [
        *config.tracking.missing(),
        *config.notify.missing(),
        *warm_start_problems(config),
        *damaged,
        *findings.problems,
    ], warnings


def _remove(folder: SweepFolder, new_folders: Sequence[Path]) -> None:
    """Empty the folder of a refused sweep, and remove the folders that were made for it."""
    for path in folder.root.iterdir() if folder.root.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    for path in new_folders:
        path.rmdir()
