import json

import numpy as np
import pytest

from accorda.proofs.contract import Check, Proof, check, names


def test_a_proof_survives_its_json():
    proof = Proof("mask", "holds", "all is well", {"rows": [1, 2], "share": 0.5, "none": None})
    assert Proof.from_dict(json.loads(json.dumps(proof.to_dict()))) == proof


def test_evidence_becomes_plain_json():
    evidence = {"n": np.int64(3), "loss": float("nan"), 7: (np.float32(0.5), np.bool_(True))}
    found = Proof("x", "holds", "r", evidence).to_dict()["evidence"]
    assert json.loads(json.dumps(found, allow_nan=False)) == {"n": 3, "loss": "nan", "7": [0.5, True]}


@pytest.mark.parametrize(("verdict", "reason"), [("ok", "r"), ("holds", " ")])
def test_no_other_verdict_and_no_empty_reason(verdict, reason):
    with pytest.raises(ValueError, match="proof x"):
        Proof("x", verdict, reason)


def test_verdict_of_checks():
    good, bad, none = Check("a", "holds", "good"), Check("b", "fails", "bad"), Check("c", "not applicable", "none")
    assert Proof.of_checks("x", [good, none], "yes").verdict == "holds"
    assert Proof.of_checks("x", [good, bad, none], "yes").reason == "bad"
    assert Proof.of_checks("x", [bad, good, bad], "yes").reason == "bad (and 1 more)"
    assert Proof.of_checks("x", [none], "yes").verdict == "not applicable"
    assert Proof.of_checks("x", [], "yes").verdict == "not applicable"
    assert Proof.of_checks("x", [good], "yes", rows=2).evidence["rows"] == 2


def test_check_takes_the_sentence_of_its_side():
    assert check("a", True, "yes", "no") == Check("a", "holds", "yes")
    assert check("a", False, "yes", "no") == Check("a", "fails", "no")


def test_names_are_cut_and_counted():
    assert names(["a", "b"], 2) == "a, b"
    assert names(["a", "b", "c"], 2) == "a, b and 1 more"
