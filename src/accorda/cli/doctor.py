"""Look at the environment: versions, devices, memory, disk, packages, traps; train one tiny step.

The last check trains a tiny random model for one step (about two seconds); --no-test leaves it out. What could be
better stands below the table, one line each.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from accorda.cli.terminal.facts import blocks
from accorda.cli.terminal.outcome import UNPROVEN, Outcome
from accorda.cli.terminal.table import table
from accorda.recipe.words import install

Verdict = Literal["ok", "warning", "fails"]
LEAST_DISK, LEAST_MEMORY = 5e9, 4e9
BRINGS = {  # what an extra is for
    "metrics": "ROUGE and BLEU in eval",
    "data": "data sets of the hub (hf:owner/name:split) and parquet files",
    "bitsandbytes": "fast kernels for nf4, on CPUs and CUDA",
    "tensorboard": "runs followed in TensorBoard (training.trackers)",
    "mlflow": "runs followed in MLflow (training.trackers)",
    "wandb": "runs followed in Weights & Biases (training.trackers)",
}


class Finding(NamedTuple):
    """What was looked at, the verdict, one line about it, and what to do, where there is something to do."""

    check: str
    verdict: Verdict
    detail: str
    advice: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to leave out."""
    parser.add_argument("--no-test", action="store_true", help="leave out the step of training")


def run(arguments: argparse.Namespace) -> Outcome:
    """Every check; exit 1 where one fails."""
    from accorda.runs.environment import environment

    checks = CHECKS if arguments.no_test else (*CHECKS, training)
    findings = [finding for check in checks for finding in check()]
    failed = [finding.check for finding in findings if finding.verdict == "fails"]
    advice = [finding.advice for finding in findings if finding.advice]
    return Outcome(
        code=UNPROVEN if failed else 0,
        result={
            "status": "fails" if failed else "ok",
            "checks": [finding._asdict() for finding in findings],
            "advice": advice,
            "environment": environment(),
        },
        text=blocks([table(("check", "verdict", "detail"), [finding[:3] for finding in findings]), lines(advice)]),
        error=f"doctor: {', '.join(failed)} must be mended first" if failed else "",
    )


def lines(advice: Sequence[str]) -> str:
    """What could be done, a line each."""
    return "\n".join(["what could be better:", *(f"- {line}" for line in advice)]) if advice else "all is well"


def python() -> Iterator[Finding]:
    """The interpreter."""
    yield Finding("python", "ok", sys.version.split()[0])


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
        yield Finding(
            requirement.name,
            "ok" if fits else "fails",
            installed if fits else f"{installed}; {requirement.specifier} is needed",
            "" if fits else f"pip install '{requirement.name}{requirement.specifier}'",
        )
    for extra, names in sorted(missing.items()):
        told = f"not installed ({', '.join(names)})" if extra else "not installed"
        if extra:
            way_out = install(extra)
            brings = BRINGS.get(extra, f"what {', '.join(names)} can do")
            yield Finding(f"extra {extra}", "ok", f"{told}; brings {brings}", f"{way_out} brings {brings}")
        else:
            yield Finding(", ".join(names), "fails", told, "pip install accorda")


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
        built = f"; torch is built for CUDA {torch.version.cuda} but finds no device" if torch.version.cuda else ""
        yield Finding("device", "ok", f"cpu, no CUDA device{built}", NO_GPU)
    for index in range(torch.cuda.device_count()):
        name, (free, total) = torch.cuda.get_device_name(index), torch.cuda.mem_get_info(index)
        bf16 = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16: fp32 or fp16"
        used = f"another program holds {(total - free) / 1e9:.1f} GB of cuda:{index}" if free < total / 2 else ""
        detail = f"{name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free, {bf16}"
        yield Finding(f"device cuda:{index}", "warning" if used else "ok", detail, used)


def processor() -> Iterator[Finding]:
    """Cores, threads, and whether other programs want them too."""
    import torch

    from accorda.runs.environment import processor, usable_cores

    cores, threads, load = usable_cores() or 1, torch.get_num_threads(), os.getloadavg()[0]
    busy = f"other programs keep {load:.1f} of {cores} cores busy: runs are slower, and times are not comparable"
    detail = f"{processor()}, {cores} usable cores, {threads} threads, load {load:.1f}"
    yield Finding("processor", "warning" if load > cores else "ok", detail, busy if load > cores else "")
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted) > cores:
        advice = f"unset OMP_NUM_THREADS: {wanted} threads on {cores} cores slow everything"
        yield Finding("OMP_NUM_THREADS", "warning", wanted, advice)


def memory() -> Iterator[Finding]:
    """Memory there is, and memory that is free."""
    from accorda.runs.memory import available_bytes, memory_bytes

    total, free = memory_bytes() or 0, available_bytes()
    detail = f"{total / 1e9:.1f} GB" + ("" if free is None else f", {free / 1e9:.1f} GB available")
    short = free is not None and free < LEAST_MEMORY
    advice = "little memory is available: accorda plan tells what a run needs, before it starts" if short else ""
    yield Finding("memory", "warning" if short else "ok", detail, advice)


def disk() -> Iterator[Finding]:
    """The working directory as a place for runs."""
    free = shutil.disk_usage(".").free
    short = free < LEAST_DISK
    advice = "checkpoints may not fit: free some space (accorda runs clean) or name another place with --output"
    yield Finding("disk here", "warning" if short else "ok", f"{free / 1e9:.1f} GB free", advice if short else "")
    if not os.access(".", os.W_OK):
        yield Finding("working directory", "warning", "cannot be written to", "name a place for runs with --output")


def traps() -> Iterator[Finding]:
    """Settings of this environment that are known to hurt."""
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        yield Finding("HF_HUB_OFFLINE", "ok", "1: hub ids work only where they are cached")
    if os.environ.get("PYTHONOPTIMIZE"):
        yield Finding("PYTHONOPTIMIZE", "warning", "assertions of libraries are off", "unset PYTHONOPTIMIZE")


def training() -> Iterator[Finding]:
    """One step of a tiny model, and how many threads suit it."""
    import torch

    from accorda.training.self_test import self_test

    found = self_test("cuda" if torch.cuda.is_available() else "cpu")
    if found.wrong:
        yield Finding("a training step", "fails", found.wrong, "reinstall torch; if that does not help, report it")
        return
    detail = f"works: loss {found.before:.3f} to {found.after:.3f}, {found.seconds:.1f} s"
    yield Finding("a training step", "ok", detail)
    timed = found.threads.seconds
    if found.threads.crowded:
        yield Finding("threads", "ok", "one is used: the other cores are busy")
    elif timed:
        told = ", ".join(f"{1e3 * took:.1f} ms with {number}" for number, took in timed.items())
        slower = timed[max(timed)] / timed[1]
        advice = f"small models run {slower:.0f} times slower with all threads here; training.threads=auto sees to it"
        yield Finding("threads", "ok", f"a tiny model's step takes {told}", advice if slower >= 2 else "")


NO_GPU = (
    "there is no GPU: training works, but slowly; accorda plan tells what fits, train --dry-run what a run would do"
)
CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (python, packages, devices, processor, memory, disk, traps)
