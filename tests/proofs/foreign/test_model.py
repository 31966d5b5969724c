import json

import pytest
from safetensors.torch import load_file, save_file
from tests.zoo import DECODERS, make

from accorda.proofs.foreign import verify_folder


def checks(proofs, name):
    proof = next(proof for proof in proofs if proof.name == name)
    return {entry["name"]: (entry["verdict"], entry["reason"]) for entry in proof.evidence["checks"]}


@pytest.mark.parametrize("architecture", DECODERS)
def test_what_transformers_saves_holds(architecture, tmp_path):
    make(architecture).save_pretrained(tmp_path)
    found = checks(verify_folder(tmp_path), "coverage")
    assert {name: verdict for name, (verdict, _) in found.items()} == dict.fromkeys(found, "holds")
    assert len(found) == 4


def test_missing_alien_and_misshapen_tensors(tmp_path):
    make("llama").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    tensors["extra"] = tensors.pop("model.layers.1.mlp.up_proj.weight")
    tensors["model.norm.weight"] = tensors["model.norm.weight"][:-1].clone()
    save_file(tensors, path, {"format": "pt"})
    found = checks(verify_folder(tmp_path), "coverage")
    assert found["keys complete"] == ("fails", "no model.layers.1.mlp.up_proj.weight")
    assert found["keys known"] == ("fails", "nothing reads extra")
    assert found["shapes fit"] == ("fails", "model.norm.weight is [31], not [32]")


def test_a_torn_file_is_a_fault_of_saving(tmp_path):
    make("llama").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    found = verify_folder(tmp_path)
    assert checks(found, "save")["files readable"][0] == "fails"
    assert checks(found, "coverage")["keys"][0] == "not applicable"


def test_a_backbone_saved_alone_has_its_names_mapped(tmp_path):
    model = make("gpt2")
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    save_file({name.removeprefix("transformer."): t for name, t in load_file(path).items()}, path, {"format": "pt"})
    assert checks(verify_folder(tmp_path), "coverage")["keys complete"][0] == "holds"


def test_tied_tensors_that_differ_are_lost_on_loading(tmp_path):
    make("llama").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, path, {"format": "pt"})
    assert checks(verify_folder(tmp_path), "coverage")["ties kept"][0] == "holds"
    tensors["lm_head.weight"][0, 0] += 1
    save_file(tensors, path, {"format": "pt"})
    assert checks(verify_folder(tmp_path), "coverage")["ties kept"][0] == "fails"


def test_against_its_base(tmp_path):
    base, tuned, other = tmp_path / "base", tmp_path / "tuned", tmp_path / "other"
    model = make("llama")
    model.save_pretrained(base)
    model.save_pretrained(tuned)
    make("gpt2").save_pretrained(other)
    assert checks(verify_folder(tuned, base), "movement")["moved from base"][0] == "fails"
    model.model.norm.weight.data[0] += 1
    model.save_pretrained(tuned)
    verdict, reason = checks(verify_folder(tuned, base), "movement")["moved from base"]
    assert (verdict, reason[:4]) == ("holds", "1 of")
    assert checks(verify_folder(tuned, other), "movement")["shapes of the base"][0] == "fails"
