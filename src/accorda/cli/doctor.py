"""Look at the environment: versions that fit, devices, memory, disk, optional packages, known traps."""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal

from accorda.cli.terminal.outcome import UNPROVEN, Outcome
from accorda.cli.terminal.table import table

Verdict = Literal["ok", "warning", "fails"]
Finding = tuple[str, Verdict, str]  # what, verdict, one line with the way out where there is something to do
LEAST_DISK = 5e9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(arguments: argparse.Namespace) -> Outcome:
    """Every check; exit 1 where one fails."""
    from accorda.runs.environment import environment

    findings = [finding for check in CHECKS for finding in check()]
    failed = [what for what, verdict, _ in findings if verdict == "fails"]
    checks = [{"check": what, "verdict": verdict, "detail": detail} for what, verdict, detail in findings]
    return Outcome(
        code=UNPROVEN if failed else 0,
        result={"status": "fails" if failed else "ok", "checks": checks, "environment": environment()},
        text=table(("check", "verdict", "detail"), findings),
        error=f"doctor: {', '.join(failed)} must be mended first" if failed else "",
    )


def python() -> Iterator[Finding]:
    """The interpreter."""
    yield "python", "ok", sys.version.split()[0]


def packages() -> Iterator[Finding]:
    """Installed versions against what accorda asks for; optional packages are told, not demanded."""
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    missing: dict[str, list[str]] = {}
    for line in requires("accorda") or ():
        requirement = Requirement(line)
        extra = extra_of(requirement)
        if extra in ("test", "check", "docs", "dev"):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            missing.setdefault(extra, []).append(requirement.name)
            continue
        fits = requirement.specifier.contains(installed, prereleases=True)
        wanted = (
            ""
            if fits
            else f"; {requirement.specifier} is needed: pip install '{requirement.name}{requirement.specifier}'"
        )
        yield requirement.name, "ok" if fits else "fails", installed + wanted
    for extra, names in sorted(missing.items()):
        if extra:
            yield f"extra {extra}", "ok", f"not installed ({', '.join(names)}): pip install 'accorda[{extra}]'"
        else:
            yield ", ".join(names), "fails", "not installed: pip install accorda"


def extra_of(requirement: Any) -> str:
    """The extra that a requirement belongs to, empty for what is always needed."""
    from importlib.metadata import metadata

    extras = metadata("accorda").get_all("Provides-Extra") or ()
    marker = requirement.marker
    if marker is None or marker.evaluate({"extra": ""}):
        return ""
    return next((extra for extra in extras if marker.evaluate({"extra": extra})), "")


def devices() -> Iterator[Finding]:
    """What torch can compute on."""
    import torch

    if not torch.cuda.is_available():
        built = f"torch is built for CUDA {torch.version.cuda} but finds no device" if torch.version.cuda else ""
        yield "device", "ok", f"cpu, {torch.get_num_threads()} threads" + (f"; {built}" if built else "")
    for index in range(torch.cuda.device_count()):
        name, (free, total) = torch.cuda.get_device_name(index), torch.cuda.mem_get_info(index)
        bf16 = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16: fp32 or fp16"
        yield f"device cuda:{index}", "ok", f"{name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free, {bf16}"


def machine() -> Iterator[Finding]:
    """Memory, and the working directory as a place for runs."""
    from accorda.runs.environment import memory_bytes, usable_cores

    yield "memory", "ok", f"{(memory_bytes() or 0) / 1e9:.1f} GB, {usable_cores()} usable cores"
    free = shutil.disk_usage(".").free
    way_out = "" if free > LEAST_DISK else "; checkpoints may not fit, free some or set --output elsewhere"
    yield "disk here", "warning" if way_out else "ok", f"{free / 1e9:.1f} GB free{way_out}"
    if not os.access(".", os.W_OK):
        yield "working directory", "warning", "cannot be written to; name a place for runs with --output"


def traps() -> Iterator[Finding]:
    """Settings of this environment that are known to hurt."""
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        yield "HF_HUB_OFFLINE", "ok", "1: hub ids work only where they are cached"
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads and threads.isdecimal() and int(threads) > (os.cpu_count() or 1):
        yield "OMP_NUM_THREADS", "warning", f"{threads} threads on {os.cpu_count()} cores slow everything; unset it"
    if os.environ.get("PYTHONOPTIMIZE"):
        yield "PYTHONOPTIMIZE", "warning", "assertions of libraries are off; unset it"


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (python, packages, devices, machine, traps)
