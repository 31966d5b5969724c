from accorda.runs.spent import PARTS, parts, rate, reached

PROFILE = {
    "seconds": {"data": 1.0, "products": 3.0, "evaluation": 0.0},
    "flops_per_second": 63e9,
    "peak_flops_per_second": 210e9,
    "precision": "bf16",
    "threads": 1,
}


def test_parts_in_their_order_with_their_shares() -> None:
    assert parts(PROFILE) == [("products", 3.0, 0.75), ("data", 1.0, 0.25)]
    assert parts({}) == []
    assert set(PROFILE["seconds"]) <= set(PARTS)


def test_the_sentence_about_the_limit() -> None:
    says = "63 GFLOP/s over whole steps, 30% of the 210 GFLOP/s that a plain product in bf16 reaches here on 1 thread"
    assert reached(PROFILE) == says
    assert reached({"seconds": {}}) == ""
    assert rate(2.5e12) == "2.5 TFLOP/s"
