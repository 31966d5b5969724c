"""The frame around every verb: exit codes, the one error line, JSON, help, and what is not imported."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from accorda.cli import main as command
from accorda.cli.main import load, main, parser, usage, verbs
from accorda.cli.terminal.outcome import Outcome
from accorda.errors import Refusal, Stopped, Unproven
from accorda.runs.crash import inside

HELP = Path(__file__).parent / "help"
HEAVY = ("torch", "transformers", "numpy", "pydantic", "yaml")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verb_that(monkeypatch, behave) -> None:
    """Make `accorda act` do something; it is one more file in the folder, as far as `main` sees."""
    module = SimpleNamespace(__doc__="Act.", add_arguments=lambda parser: None, run=lambda arguments: behave())
    monkeypatch.setattr(command, "verbs", lambda: ["act"])
    monkeypatch.setattr(command, "load", lambda verb: module)


def raising(error: BaseException):
    def behave() -> Outcome:
        raise error

    return behave


def endings(capsys) -> tuple[str, list[str]]:
    captured = capsys.readouterr()
    return captured.out, captured.err.splitlines()


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("error", "code", "status", "line"),
    [
        (Refusal("data.train = x: no such file"), 2, "refused", "data.train = x: no such file"),
        (Refusal("two\nlines"), 2, "refused", "two lines"),
        (
            Stopped("stopped by SIGTERM", "runs/a"),
            3,
            "stopped",
            "stopped by SIGTERM; continue with: accorda resume runs/a",
        ),
        (Unproven("movement fails"), 1, "unproven", "movement fails"),
        (KeyboardInterrupt(), 2, "refused", "interrupted"),
        (MemoryError(), 2, "refused", "out of memory: MemoryError; accorda plan tells what would help"),
        (
            RuntimeError("can't allocate memory"),
            2,
            "refused",
            "out of memory: can't allocate memory; accorda plan tells what would help",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "x"), 2, "refused", "x: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "y"), 2, "refused", "y: Permission denied"),
        (
            ValueError("embedded null byte"),
            2,
            "refused",
            "a path holds a NUL character, which no file's name has; write it without",
        ),
    ],
)
def test_every_ending_has_its_code_and_one_line(error, code, status, line, as_json, monkeypatch, capsys, here):
    verb_that(monkeypatch, raising(error))
    assert main(["act", *(["--json"] if as_json else [])]) == code
    out, err = endings(capsys)
    assert err == [f"error: {line}"]
    if as_json:
        assert {"status": status, "error": line, "exit": code}.items() <= json.loads(out).items()
    else:
        assert out == ""
    assert list(here.iterdir()) == []


def test_a_fault_of_ours_leaves_its_traceback_and_one_line(monkeypatch, capsys, here):
    verb_that(monkeypatch, raising(ZeroDivisionError("by\nzero")))
    assert main(["act", "--json"]) == 70
    out, err = endings(capsys)
    assert len(err) == 1
    assert (
        err[0] == "error: a fault of accorda, not of yours: ZeroDivisionError: by zero; the traceback is in crash.log"
    )
    assert json.loads(out)["log"] == "crash.log"
    assert "ZeroDivisionError" in (here / "crash.log").read_text()


def test_what_happens_inside_a_run_is_the_runs(monkeypatch, capsys, here):
    (here / "a").mkdir()
    (here / "a" / "recipe.yaml").touch()

    def behave(error: BaseException):
        with inside("a"):
            raise error

    verb_that(monkeypatch, lambda: behave(KeyboardInterrupt()))
    assert main(["act"]) == 3
    assert endings(capsys)[1] == ["error: interrupted; continue with: accorda resume a"]
    verb_that(monkeypatch, lambda: behave(OSError(errno.ENOSPC, "No space left on device")))
    assert main(["act"]) == 3
    verb_that(monkeypatch, lambda: behave(KeyError("x")))
    assert main(["act"]) == 70
    assert (here / "a" / "crash.log").exists()
    assert not (here / "crash.log").exists()


def test_only_the_result_is_on_standard_output(monkeypatch, capsys):
    import numpy as np

    def behave() -> Outcome:
        sys.stdout.write("a library says hello\n")
        return Outcome(result={"loss": float("nan"), "path": Path("a"), "steps": np.int64(3)}, text="done\n")

    verb_that(monkeypatch, behave)
    assert main(["act"]) == 0
    out, err = endings(capsys)
    assert (out, err) == ("done\n", ["a library says hello"])
    assert main(["--json", "act"]) == 0
    out, _ = endings(capsys)
    assert out.count("\n") == 1
    assert json.loads(out) == {"loss": None, "path": "a", "steps": 3}


def test_an_outcome_that_failed_says_why_after_its_result(monkeypatch, capsys):
    verb_that(monkeypatch, lambda: Outcome(code=1, result={"a": 1}, text="table", error="save fails"))
    assert main(["act"]) == 1
    assert endings(capsys) == ("table\n", ["error: save fails"])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["rnus"], "rnus: no such verb; did you mean runs?"),
        (["xyzzy"], "xyzzy: no such verb; accorda --help lists them"),
        (["runs", "--jsn"], "--jsn: no such flag of accorda runs; did you mean --json?"),
        (["runs", "--js"], "--js: no such flag of accorda runs; did you mean --json?"),
        (["runs", "a", "b"], "b: one argument too many for accorda runs"),
        (["runs", "nowhere"], "FOLDER = nowhere: no such folder; runs land in runs/ unless --output says otherwise"),
        (["-v"], "-v: no such verb; accorda --help lists them"),
    ],
)
def test_wrong_usage_is_one_line(arguments, line, capsys, here):
    assert main(arguments) == 2
    assert endings(capsys) == ("", [f"error: {line}"])
    assert list(here.iterdir()) == []


def test_no_verb_lists_them(capsys):
    assert main([]) == 2
    out, err = endings(capsys)
    assert out == ""
    assert err[-1] == "error: no verb given; the list stands above"
    assert sum(line.startswith("error: ") for line in err) == 1
    assert any(line.startswith("  runs ") for line in err)


def test_version_and_help(capsys):
    import accorda

    assert main(["--version"]) == 0
    assert endings(capsys)[0] == f"accorda {accorda.__version__}\n"
    assert main(["--help"]) == 0
    assert endings(capsys)[0].startswith("accorda tunes")
    assert main(["runs", "--help"]) == 0
    assert endings(capsys)[0].startswith("usage: accorda runs")


@pytest.mark.parametrize("verb", ["accorda", *verbs()])
def test_help_is_the_stored_one(verb):
    """A new flag is a visible difference. To accept one: ACCORDA_WRITE_HELP=1 python -m pytest tests/cli."""
    text = usage() if verb == "accorda" else parser(verb, load(verb)).format_help()
    stored = HELP / f"{verb}.txt"
    if os.environ.get("ACCORDA_WRITE_HELP"):
        stored.write_text(text)
    assert text == stored.read_text()


def test_stored_help_has_no_leftovers():
    assert {path.stem for path in HELP.glob("*.txt")} == {"accorda", *verbs()}


@pytest.mark.parametrize("verb", verbs())
def test_a_verb_says_what_it_does_in_its_first_line(verb):
    first = (load(verb).__doc__ or "").partition("\n")[0]
    assert first.endswith(".")
    assert len(first) <= 100


def fresh(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python code in a process of its own."""
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("statement", ["import accorda", "from accorda.cli.main import main; main(['--help'])"])
def test_nothing_heavy_is_imported_before_it_is_needed(statement):
    done = fresh(f"import sys\n{statement}\nsys.stderr.write(' '.join(m for m in {HEAVY} if m in sys.modules))")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_goes_away_is_no_error():
    shell = f"{sys.executable} -m accorda doctor --json | true"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {shell}"], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr
    assert done.returncode in (0, 141)


def test_a_terminal_that_cannot_show_a_character_gets_its_number(tmp_path):
    code = "import sys; from accorda.cli.main import emit, Outcome; emit(Outcome(text='a\u27e6b'), as_json=False)"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "a\\u27e6b\n"
