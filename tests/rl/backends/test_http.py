"""Stage rl with a server that samples: whole runs by the command line, servers that are not as they should be."""

import json
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from tests.rl.server import BASE, serving
from tests.stages.runs import write_rows
from tests.stages.sampled import ASKED, REWARDS
from tests.zoo import tiny_model_folder

from accorda.cli.main import main
from accorda.errors import Refusal
from accorda.methods.install import freeze, install, trainable
from accorda.methods.reparametrized.lora import LoRA
from accorda.models.load import load_model
from accorda.rl.backends import server as client
from accorda.rl.backends.contract import Asked
from accorda.rl.backends.http import Http
from accorda.rl.backends.registry import backends
from accorda.rl.settings import RolloutSettings
from accorda.runs import events
from accorda.runs.layout import RunFolder
from accorda.training.guard import Unreachable

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A tiny model and a server of it."""
    folder = tiny_model_folder(tmp_path_factory.mktemp("served"), "llama")
    with serving(folder) as small:
        yield folder, small


@pytest.fixture
def small(served, tmp_path, monkeypatch):
    """The server as it should be, in a place with rows and rewards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(client.KEY, raising=False)
    monkeypatch.setattr(client, "WAITS", (0.0,))
    write_rows(tmp_path / "asked.jsonl", ASKED)
    (tmp_path / "rewards.py").write_text(REWARDS, encoding="utf-8")
    folder, one = served
    one.spoil, one.key, one.seen, one.folder, one.refuses = (lambda path, body, answer: answer), None, [], folder, {}
    yield one
    left = list(one.loaded)
    for name in left:
        one.unload({"lora_name": name})
    assert left == []


def line(small, *more, http=True):
    """The command of a short run; what `more` sets takes the place of what is set here."""
    given = {
        "model.path": small.folder,
        "data.train": "asked.jsonl",
        "data.eval_split": 0.2,
        "reward": "rewards.py:vowels",
        "evaluation.every": 2,
        "training.learning_rate": 0.01,
        "training.batch_size": 4,
        "training.max_steps": 4,
        "training.checkpoint_every": 2,
        "training.threads": 1,
        "rollout.num_generations": 4,
        "rollout.max_new_tokens": 6,
        "output": "run",
        **({"rollout.backend": "http", "rollout.url": small.url} if http else {}),
        **dict(one.split("=", 1) for one in more),
    }
    return ["train", "--stage", "rl", *(f"{name}={value}" for name, value in given.items())]


def told(folder, event="step"):
    return [found for found in events.read(RunFolder(folder).events) if found["event"] == event]


def said(capsys):
    """The last line on standard error."""
    return capsys.readouterr().err.splitlines()[-1]


def only(wanted, change):
    """Spoil the answers to one path."""
    return lambda path, body, answer: change(body, answer) if path == wanted else answer


def in_choices(**fields):
    return only("/v1/completions", lambda body, answer: with_choices(answer, **fields))


def in_place_of_choices(one):
    return only("/v1/completions", lambda body, answer: {**answer, "choices": [one for _ in answer["choices"]]})


def past_its_end(body, answer):
    ids = [5, body["stop_token_ids"][0], 5]
    return with_choices(answer, token_ids=ids, logprobs={"token_logprobs": [-1.0] * 3}, finish_reason="length")


def with_choices(answer, **fields):
    return {**answer, "choices": [{**choice, **fields} for choice in answer["choices"]]}


def test_the_backends_are_the_files_of_the_folder():
    assert sorted(backends()) == ["http", "torch"]


def test_a_run_by_a_server_is_on_policy_and_proves_itself(small, tmp_path):
    assert main(line(small)) == 0
    steps = told("run")
    assert [(step["rollout/version"], step["rollout/staleness"]) for step in steps] == [(n, 0) for n in range(4)]
    assert max(step["rollout_vs_train/abs_logp_diff_max"] for step in steps) < 1e-4
    signs = [sign for step in steps for sign in step["health"]]
    mine = [sign["verdict"] for sign in signs if sign["sign"] in ("staleness", "rollout against training")]
    assert mine == ["well"] * 8
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Staleness" in page
    assert "Sampler against training" in page
    reasons = {
        proof["name"]: proof["reason"] for proof in json.loads((tmp_path / "run/proof.json").read_text())["proofs"]
    }
    assert "a server's, which need not give the same again" in reasons["resume"]
    assert not (tmp_path / "run" / "rollout").exists()


def test_every_phase_is_sampled_by_its_own_weights_and_by_them_alone(small):
    assert main(line(small, "algorithm.name=ppo", "algorithm.num_epochs=2", "algorithm.num_minibatches=1")) == 0
    assert [step["rollout/staleness"] for step in told("run")] == [0, 1, 0, 1]
    names = [body["model"] for path, body in small.seen if path == "/v1/completions"]
    assert {name.split("-")[3] for name in names} == {"0", "2", "4"}
    assert BASE not in names
    asked = [body for path, body in small.seen if path == "/v1/completions" and body["n"] == 4]
    assert all((body["top_p"], body["top_k"], body["ignore_eos"]) == (1.0, -1, True) for body in asked)
    assert len({body["seed"] for body in asked}) == len(asked)


def test_a_server_that_keeps_old_weights_is_seen(small):
    """The base answers under every adapter's name, as behind a cache that nobody emptied."""
    real = small.complete
    small.complete = lambda body: {**real({**body, "model": BASE}), "model": body["model"]}
    try:
        assert main(line(small, "training.learning_rate=0.2")) == 0
    finally:
        small.complete = real
    signs = [sign for step in told("run")[2:] for sign in step["health"] if sign["sign"] == "rollout against training"]
    assert {sign["verdict"] for sign in signs} == {"alarm"}


def test_a_finished_run_needs_no_server(small, monkeypatch):
    assert main(line(small)) == 0
    small.seen = []
    assert main(["verify", "run"]) == 0
    assert main(["eval", "run", "--limit", "2"]) == 0
    assert small.seen == []


def test_an_adapter_goes_on_over_the_server(small):
    assert main(line(small, "output=first", http=False)) == 0
    assert main(line(small, "model.path=first")) == 0
    assert max(step["rollout_vs_train/abs_logp_diff_max"] for step in told("run")) < 1e-4


def test_a_server_that_goes_stops_the_run_and_it_goes_on_to_the_same_bytes(small, capsys, tmp_path):
    assert main(line(small, "output=whole")) == 0

    def gone(path, body, answer):
        if "-step-3-" in body.get("model", "") and body["n"] == 4:
            raise RuntimeError("the machine is off")
        return answer

    small.spoil = gone
    capsys.readouterr()
    assert main(line(small)) == 3
    last = said(capsys)
    assert f"rollout.url = {small.url}: no answer from /v1/completions" in last
    assert last.endswith("continue with: accorda resume run")
    assert RunFolder("run").checkpoint_steps()[-1] == 3
    small.spoil = lambda path, body, answer: answer
    assert main(["resume", "run"]) == 0
    whole, run = (tmp_path / name / "adapter" / WEIGHTS for name in ("whole", "run"))
    assert run.read_bytes() == whole.read_bytes()


def test_a_line_that_breaks_once_costs_nothing(small):
    broken = []

    def once(body, answer):
        if not broken:
            broken.append(body)
            raise RuntimeError("a cable")
        return answer

    small.spoil = only("/v1/completions", once)
    assert main(line(small)) == 0
    assert broken


def test_ids_may_stand_in_place_of_tokens(small):
    small.spoil = in_choices(token_ids=None)
    assert main(line(small, "training.max_steps=1")) == 0


def test_a_server_with_a_key(small, capsys, monkeypatch):
    small.key = "secret"
    assert main([*line(small), "--dry-run"]) == 2
    assert "/v1/models says 401: Unauthorized" in said(capsys)
    monkeypatch.setenv(client.KEY, "secret")
    assert main([*line(small), "--dry-run"]) == 0


def test_adapters_may_stand_in_a_folder_of_their_own(small, tmp_path, capsys):
    assert main(line(small, f"rollout.folder={tmp_path}/shared")) == 2
    assert "shared: no folder that can be written to" in said(capsys)
    (tmp_path / "shared").mkdir()
    assert main(line(small, f"rollout.folder={tmp_path}/shared")) == 0
    loaded = [body["lora_path"] for path, body in small.seen if path == "/v1/load_lora_adapter"]
    assert all(path.startswith(f"{tmp_path}/shared/") for path in loaded)
    assert list((tmp_path / "shared").iterdir()) == []


SPOILT = {
    "no model": (only("/v1/models", lambda body, answer: {"data": []}), "rollout.model: missing; the server at"),
    "another server": (only("/v1/models", lambda body, answer: "<html>"), "/v1/models lists no models"),
    "short": (
        only("/v1/models", lambda body, answer: {"data": [{"id": BASE, "max_model_len": 16}]}),
        "data.max_length = 256: the server of base reads 16 tokens",
    ),
    "no log-probabilities": (in_choices(logprobs=None), "gives no log-probability of every token"),
    "half of them": (in_choices(logprobs={"token_logprobs": [None]}), "gives no log-probability of every token"),
    "no ids": (in_choices(token_ids=None, logprobs={"token_logprobs": []}), "gives no token ids"),
    "other ids": (in_choices(token_ids=[999], logprobs={"token_logprobs": [-1.0]}), "sampled token id 999, and the"),
    "another prompt": (in_choices(prompt_token_ids=[5]), "read other token ids than the prompt's"),
    "too long": (in_choices(token_ids=[5] * 9, logprobs={"token_logprobs": [-1.0] * 9}), "an answer of 9 tokens that"),
    "another end": (
        in_choices(token_ids=[5], logprobs={"token_logprobs": [-1.0]}, finish_reason="stop"),
        "ended an answer (stop) at token id 5",
    ),
    "on past its end": (
        only("/v1/completions", lambda body, answer: past_its_end(body, answer)),
        "gave an answer of 3 tokens that does not end where it was told to",
    ),
    "a choice that is text": (in_place_of_choices("x"), "answers in another form: choices must be objects"),
    "no index": (in_choices(index=None), "answers in another form: choices must be objects with a whole number"),
    "an index of text": (in_choices(index="first"), "answers in another form: choices must be objects"),
    "log-probabilities alone": (in_choices(logprobs=[-1.0]), "answers in another form: logprobs must be an object"),
    "ids of text": (in_choices(token_ids=["a"]), "gives no token ids"),
    "ids of halves": (in_choices(token_ids=[5.5]), "gives no token ids"),
    "one id": (in_choices(token_ids=5), "gives no token ids"),
    "one token": (in_choices(token_ids=None, logprobs={"tokens": 5}), "gives no token ids"),
    "true as a number": (
        in_choices(token_ids=[5], logprobs={"token_logprobs": [False]}),
        "gives no log-probability of every token",
    ),
    "a number of 400 digits": (
        in_choices(token_ids=[5], logprobs={"token_logprobs": [-(10**400)]}),
        "gives no log-probability of every token",
    ),
    "no end of brackets": (only("/v1/models", lambda body, answer: "[" * 99_999), "/v1/models lists no models"),
    "fewer answers": (
        only("/v1/completions", lambda body, answer: {**answer, "choices": answer["choices"][1:]}),
        "gave 3 answers to a prompt where 4 were asked for",
    ),
    "another model": (
        only("/v1/completions", lambda body, answer: {**answer, "model": BASE}),
        "and answers as base",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_server_that_cannot_be_learned_from_is_refused_before_the_run(name, small, capsys, tmp_path):
    small.spoil, says = SPOILT[name]
    assert main(line(small)) == 2
    last = said(capsys)
    assert last.startswith("error: ")
    assert says in last
    assert not (tmp_path / "run").exists()
    assert [one for one in tmp_path.iterdir() if one.name.startswith(".rollout")] == []


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["rollout.backend=htp"], "rollout.backend = htp (command line): no such backend; did you mean http?"),
        (["rollout.backend=torch"], "(command line): backend torch has no use for it; set rollout.backend=http"),
        (["rollout.url=localhost:8000"], "rollout.url = localhost:8000 (command line): no address of a server"),
        (["rollout.url=null"], "rollout.url: missing; backend http asks a server"),
        (["rollout.url=http://127.0.0.1:9"], "rollout.url = http://127.0.0.1:9: no answer from /v1/models"),
        (["rollout.model=other"], "rollout.model = other: the server at"),
        (["rollout.url=http://[::1"], "rollout.url = http://[::1 (command line): no address of a server"),
        (["rollout.url=http://host:port"], "rollout.url = http://host:port (command line): no address of a server"),
        (["rollout.url=http://höst:80"], "rollout.url = http://höst:80 (command line): holds letters beyond ASCII"),
        (["rollout.url=http://me:x@host"], "a server's key goes into the variable ACCORDA_ROLLOUT_KEY"),
        (["rollout.url=http://a..b"], "rollout.url = http://a..b: no answer from /v1/models: "),
        *(
            ([f"method.name={name}"], f"a server loads LoRA's products of two factors, and {shown} learns something")
            for name, shown in {
                "full": "Full",
                "bitfit": "BitFit",
                "ia3": "IA3",
                "vera": "VeRA",
                "dora": "DoRA",
                "krona": "KronA",
                "lora+bitfit": "LoRA and BitFit",
            }.items()
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(more, says, small, capsys, tmp_path):
    assert main(line(small, *more)) == 2
    assert says in said(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("secret", ["secret\n", "sécret"])
def test_a_key_that_no_header_carries_is_refused_and_not_shown(secret, small, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv(client.KEY, secret)
    assert main(line(small)) == 2
    last = said(capsys)
    assert last.startswith(f"error: {client.KEY}: holds a line break or another character")
    assert "cret" not in last
    assert not (tmp_path / "run").exists()


def test_an_adapter_that_is_not_taken_leaves_no_folder(small, policy, tmp_path):
    backend = Http(RolloutSettings(backend="http", url=small.url), tmp_path / "adapters")
    small.refuses["/v1/load_lora_adapter"] = (500, "no memory")
    with pytest.raises(Unreachable, match="no memory"):
        backend.update(policy, 0)
    assert not (tmp_path / "adapters").exists()
    del small.refuses["/v1/load_lora_adapter"]
    backend.update(policy, 0)
    assert backend.generate(asked_of(backend, policy))
    backend.close()


@pytest.mark.parametrize(("rank", "taken"), [(2, False), (4, True)])
def test_methods_that_scale_differently_are_refused(rank, taken, small, tmp_path):
    """As vLLM does, a server may take alpha and rank of the whole file: 8 / 2 on some modules would be 8 / 4 there."""
    model = load_model(small.folder)
    install(
        freeze(model),
        (LoRA(rank=4, alpha=8, target_modules="q_proj"), LoRA(rank=rank, alpha=8, target_modules="v_proj")),
    )
    backend = Http(RolloutSettings(backend="http", url=small.url), tmp_path / "adapters")
    with nullcontext() if taken else pytest.raises(Refusal, match="differ in alpha / rank"):
        backend.require_fit(model, 8)


def test_log_probabilities_before_the_temperature_are_refused(small, capsys):
    """As vLLM tells them by default: the model's own, whatever the temperature."""
    real = small.complete

    def plain(body):
        answer = real(body)
        for choice in answer["choices"]:
            choice["logprobs"]["token_logprobs"] = own(small.model, body, choice["token_ids"])
        return answer

    small.complete = plain
    try:
        assert main(line(small, "rollout.temperature=0.3")) == 2
        assert "before the temperature 0.3 (rollout.temperature); start vLLM with --logprobs-mode" in said(capsys)
        assert main(line(small, "rollout.temperature=1.0", "training.max_steps=1")) == 0
    finally:
        small.complete = real


@torch.no_grad()
def own(model, body, ids):
    """The base's log-probabilities of an answer; the policy is still the base."""
    scores = model(torch.tensor([[*body["prompt"], *ids]])).logits[0].log_softmax(-1)
    start = len(body["prompt"]) - 1
    return [float(scores[start + place, token]) for place, token in enumerate(ids)]


def test_a_server_that_takes_no_adapters_is_told_how_to(small, capsys):
    small.refuses["/v1/load_lora_adapter"] = (404, "Not Found")
    assert main(line(small)) == 2
    last = said(capsys)
    assert "/v1/load_lora_adapter says 404: Not Found; start vLLM with --enable-lora and" in last


@torch.no_grad()
def test_another_base_is_refused(small, capsys):
    weight = small.model.model.norm.weight
    weight.mul_(5)
    try:
        assert main(line(small)) == 2
    finally:
        weight.div_(5)
    assert "it must serve the policy's own base" in said(capsys)


@pytest.fixture
def policy(small):
    """A model with an adapter whose factors are far from zero."""
    model = load_model(small.folder)
    install(freeze(model), LoRA(rank=2))
    torch.manual_seed(0)
    for parameter in trainable(model).values():
        torch.nn.init.normal_(parameter)
    return model


def asked_of(backend, model):
    settings = replace(backend.settings, num_generations=3, max_new_tokens=8)
    stops = frozenset({2})
    return Asked(model=model, prompts=[[5, 6, 7]], seeds=[(0,)], settings=settings, stop_ids=stops, tokenizer=None)


def test_other_weights_are_asked_again_and_the_same_ones_are_not(small, policy, tmp_path):
    backend = Http(RolloutSettings(backend="http", url=small.url), tmp_path / "adapters")
    backend.update(policy, 0)
    first = backend.generate(asked_of(backend, policy))
    asked = len(small.seen)
    backend.update(policy, 0)
    assert backend.generate(asked_of(backend, policy)) == first
    assert len(small.seen) == asked
    with torch.no_grad():
        next(iter(trainable(policy).values())).neg_()
    backend.update(policy, 0)
    assert backend.generate(asked_of(backend, policy)) != first
    backend.close()


def test_two_runs_of_the_same_weights_do_not_meet_at_a_server(small, policy, tmp_path):
    both = [Http(RolloutSettings(backend="http", url=small.url), tmp_path / name) for name in ("one", "other")]
    for backend in both:
        backend.update(policy, 0)
    assert len(set(small.loaded)) == 2
    for backend in both:
        backend.close()
        backend.close()
