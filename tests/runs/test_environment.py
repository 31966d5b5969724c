import json
import os
import platform
import subprocess
from importlib.metadata import version

from accorda.runs.environment import environment, git


def test_it_says_what_the_results_can_depend_on(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = environment({"seed": 7})
    assert found["seed"] == 7
    assert found["packages"]["torch"] == version("torch")
    assert found["python"] == platform.python_version()
    assert found["processor"]["cores"] == os.cpu_count()
    assert found["memory_bytes"] > 10**8
    assert found["variables"]["OMP_NUM_THREADS"] == "3"
    assert platform.node() not in json.dumps(found["processor"])


def test_the_commit_of_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert git() is None
    for command in ("init -q", "-c user.name=a -c user.email=a@b commit -q --allow-empty -m a"):
        subprocess.run(["git", *command.split()], check=True)
    clean = git()
    assert clean is not None
    assert len(clean["commit"]) == 40
    assert clean["changed"] is False
    (tmp_path / "x").touch()
    subprocess.run(["git", "add", "x"], check=True)
    assert (git() or {})["changed"] is True
