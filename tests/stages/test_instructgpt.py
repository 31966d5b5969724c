"""`examples/instructgpt.yaml` behind the two runs that its head names, all of them shortened."""

from pathlib import Path

from accorda.recipe.load import load
from accorda.stages import reopen, train

EXAMPLE = Path(__file__).parents[2] / "examples" / "instructgpt.yaml"
QUICK = {"max_steps": 1, "batch_size": 4, "threads": 1, "learning_rate": 1e-5}


def test_the_papers_settings_run_behind_demonstrations_and_a_reward_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = {"limit": 20, "eval_split": 0.2}
    sft = {"train": "bundled:demonstrations", **rows}
    pairs = {"train": "bundled:preferences", **rows}
    for name, more in {
        "sft": {"data": sft, "method": {"name": "full"}},
        "reward": {"stage": "reward", "data": pairs, "method": {"name": "lora"}},
    }.items():
        train({"model": {"path": "bundled"}, "training": QUICK, "output": f"runs/{name}", **more})
    recipe = load(EXAMPLE)
    assert (recipe.algorithm["ptx_coef"], recipe.algorithm["kl_coef"]) == (27.8, 0.02)
    assert recipe.training.max_steps * recipe.training.batch_size / recipe.algorithm["num_minibatches"] == 256_000
    rows = {name: recipe.algorithm[name] for name in ("ptx_rows", "num_minibatches")}
    assert rows == {"ptx_rows": 8 * recipe.training.batch_size // 8, "num_minibatches": 8}  # eight times 64
    short = ["training.max_steps=8", "training.batch_size=8", "training.threads=1", "data.eval_limit=2"]
    short += ["rollout.max_new_tokens=6", "algorithm.ptx_rows=24", "training.warmup_steps=1", "evaluation.every=8"]
    run = train(load(EXAMPLE, [*short, "output=runs/ppo"]))
    assert run.proven, run.proofs
    assert run.result["parents"] == ["runs/sft"]
    beside = reopen(run.folder).loop.carried.beside
    assert (beside.batch_size, len(beside.dataset)) == (24, 400)
