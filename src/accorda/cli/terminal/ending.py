"""Every way a command can end early, as an exit code and one line."""

import errno
from collections.abc import Sequence

from accorda.cli.terminal.outcome import CRASHED, REFUSED, STOPPED, UNPROVEN, Outcome
from accorda.errors import Refusal, Stopped, Unproven
from accorda.runs.crash import run_of, write_crash_log
from accorda.runs.layout import RunFolder

NOT_OURS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


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
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"out of memory: {str(error)[:200] or type(error).__name__}"
    if isinstance(error, OSError) and error.errno in NOT_OURS:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    return ""


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
