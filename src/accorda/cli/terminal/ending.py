"""Every way a command can end early, as an exit code and one line."""

import errno
from collections.abc import Sequence

from accorda.cli.terminal.outcome import CRASHED, REFUSED, STOPPED, UNPROVEN, Outcome
from accorda.errors import Refusal, Stopped, Unproven
from accorda.runs.crash import run_of, write_crash_log
from accorda.runs.layout import RunFolder

NOT_OURS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)
NO_MEMORY = "can't allocate memory"  # as torch says it of a processor's
NUL = "embedded null byte"  # as Python says it of a path
NO_HOME = "Could not determine home directory"  # as pathlib says it of ~name


def ended(error: BaseException, arguments: Sequence[str]) -> Outcome:
    """The outcome that an exception stands for; a fault of ours leaves its traceback in `crash.log`."""
    if isinstance(error, Unproven):
        return failed("unproven", UNPROVEN, str(error))
    if isinstance(error, Refusal):
        return failed("refused", REFUSED, str(error))
    if isinstance(error, Stopped):
        return failed("stopped", STOPPED, str(error), output=str(error.run))
    reason = outside(error)
    if reason:
        return interrupted(error, reason)
    log = write_crash_log(error, list(arguments))
    where = f"the traceback is in {log}" if log else "no crash.log could be written"
    line = f"a fault of accorda, not of yours: {type(error).__name__}: {str(error)[:300]}; {where}"
    return failed("crashed", CRASHED, line, log=str(log) if log else None)


def outside(error: BaseException) -> str:
    """The reason where it is neither the command's fault nor ours: interrupted, memory, disk, permission."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or says(error, NO_MEMORY):
        told = str(error)[:200] or type(error).__name__
        return f"out of memory: {told}; accorda plan tells what would help"
    if says(error, NUL):
        return "a path holds a NUL character, which no file's name has; write it without"
    if says(error, NO_HOME):
        return "a path begins with ~ and the name of nobody here; write it from / on"
    if isinstance(error, OSError) and error.errno in NOT_OURS:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    return ""


def says(error: BaseException, words: str) -> bool:
    """Whether it is one of the errors that have no type of their own."""
    return isinstance(error, RuntimeError | ValueError) and words in str(error)


def interrupted(error: BaseException, reason: str) -> Outcome:
    """Stopped and resumable where a run had begun, else refused."""
    run = run_of(error)
    if run is not None and RunFolder(run).is_unfinished():
        return ended(Stopped(reason, str(run)), [])
    return failed("refused", REFUSED, reason)


def failed(status: str, code: int, error: str, **more: object) -> Outcome:
    """The outcome of a command that did not do what it was asked."""
    line = " ".join(error.split())
    return Outcome(code=code, error=line, result={"status": status, "error": line, "exit": code, **more})
