import pytest
from tests.zoo import edit_json, make, tiny_model_folder, tiny_tokenizer

from accorda.errors import Refusal
from accorda.models.tokenizer import load_tokenizer, pad_token_id


def model(**special):
    return make("llama", meta=True, vocab_size=328, **special)


def test_the_tokenizers_own_pad_comes_first():
    assert pad_token_id(tiny_tokenizer(), model()) == 0


def test_pad_is_never_eos_where_there_is_another():
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    assert pad_token_id(tokenizer, model(pad_token_id=5)) == 5
    tokenizer.pad_token = None
    assert pad_token_id(tokenizer, model(pad_token_id=2)) == 0  # the token named <pad>


def test_without_a_pad_token_another_special_one_serves():
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    tokenizer.get_added_vocab = dict
    assert pad_token_id(tokenizer, model(pad_token_id=None)) == 1  # bos
    tokenizer.unk_token = "a"
    assert pad_token_id(tokenizer, model(pad_token_id=None)) == tokenizer.convert_tokens_to_ids("a")


def test_several_end_tokens_are_all_avoided():
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.get_added_vocab = dict
    assert pad_token_id(tokenizer, model(pad_token_id=None, eos_token_id=[1, 2, 0])) == 3


def test_ids_beyond_the_vocabulary_do_not_count():
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    assert tokenizer.pad_token_id == 320
    assert pad_token_id(tokenizer, make("llama", meta=True, vocab_size=320)) == 0


def test_a_folder_without_tokenizer_is_refused(tmp_path):
    make("llama").save_pretrained(tmp_path)
    with pytest.raises(Refusal, match=r"has no tokenizer \(tokenizer\.json\); copy"):
        load_tokenizer(tmp_path)
    with pytest.raises(Refusal, match="there is no folder /nowhere"):
        load_tokenizer("/nowhere")


def test_a_broken_tokenizer_is_refused(tmp_path):
    folder = tiny_model_folder(tmp_path)
    edit_json(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Own", None]})
    with pytest.raises(Refusal, match=r"needs code of its own; set model\.trust_remote_code"):
        load_tokenizer(folder)
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(Refusal, match=r"tokenizer_config\.json: not valid JSON"):
        load_tokenizer(folder)
    (folder / "tokenizer_config.json").unlink()
    (folder / "tokenizer.json").write_text("{broken")
    with pytest.raises(Refusal, match="cannot be read") as refusal:
        load_tokenizer(folder)
    assert "\n" not in str(refusal.value)
