import pytest
from tests.zoo import edit_json, tiny_model_folder
from transformers import AutoTokenizer

from accorda.proofs.foreign import verify_folder

DROPS_ANSWERS = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
    "{% if not loop.last or message['role'] == 'user' %}{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>think: ' }}{% endif %}"
)


@pytest.fixture
def folder(tmp_path):
    return tiny_model_folder(tmp_path)


def checks(folder, base=None):
    proof = next(proof for proof in verify_folder(folder, base) if proof.name == "mask")
    return {entry["name"]: (entry["verdict"], entry["reason"]) for entry in proof.evidence["checks"]}


def retokenize(folder, **changes):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    tokenizer.save_pretrained(folder)


def test_a_sound_folder(folder):
    found = checks(folder)
    assert {verdict for verdict, _ in found.values()} == {"holds", "not applicable"}
    assert found["generation stops"][1] == "generation stops at '</s>' (id 2), which ends an answer"
    assert found["template keeps prefixes"][0] == "holds"
    assert found["pad token"][1] == "pad is '<pad>' (id 0), not eos"


def test_generation_that_never_stops(folder):
    edit_json(folder / "generation_config.json", eos_token_id=None)
    assert checks(folder)["generation stops"][0] == "fails"
    edit_json(folder / "generation_config.json", eos_token_id=[1, 2])
    assert checks(folder)["generation stops"][0] == "holds"


def test_generation_that_stops_at_another_token_than_answers_end_with(folder):
    template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '<pad>' }}{% endfor %}"
    retokenize(folder, chat_template=template + "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}")
    verdict, reason = checks(folder)["generation stops"]
    assert verdict == "fails"
    assert reason.startswith("an answer ends with '<pad>' (id 0), generation stops at [2]")


def test_no_end_token(folder):
    retokenize(folder, eos_token=None)
    assert checks(folder)["end token"][0] == "fails"


def test_pad_that_is_eos_is_reported(folder):
    retokenize(folder, pad_token="</s>")
    verdict, reason = checks(folder)["pad token"]
    assert verdict == "holds"
    assert reason.startswith("pad and eos are both id 2")


def test_template_that_does_not_keep_prefixes(folder):
    retokenize(folder, chat_template=DROPS_ANSWERS)
    verdict, reason = checks(folder)["template keeps prefixes"]
    assert verdict == "fails"
    assert "training and serving see different tokens" in reason


def test_template_that_cannot_render(folder):
    retokenize(folder, chat_template="{{ raise_exception('no') }}")
    assert checks(folder)["template"][0] == "fails"


def test_no_template(folder):
    (folder / "chat_template.jinja").unlink()
    assert checks(folder)["template"][0] == "not applicable"


def test_double_bos(folder):
    template = AutoTokenizer.from_pretrained(folder).chat_template
    retokenize(folder, chat_template="{{ bos_token }}" + template)
    verdict, reason = checks(folder)["bos once"]
    assert verdict == "holds"
    assert "twice without" in reason
    retokenize(folder, chat_template="{{ bos_token + bos_token }}" + template)
    assert checks(folder)["bos once"][0] == "fails"


def test_another_template_than_the_base(folder, tmp_path):
    base = tiny_model_folder(tmp_path / "base")
    assert checks(folder, base)["template of the base"][1].startswith("the same conversation")
    retokenize(folder, chat_template=AutoTokenizer.from_pretrained(folder).chat_template.replace("<|", "<<"))
    assert checks(folder, base)["template of the base"][1].startswith("the base's template gives another text")


def test_tokens_without_vectors(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<new{n}>" for n in range(20)])
    tokenizer.save_pretrained(folder)
    assert checks(folder)["tokens fit"][0] == "fails"
