import json

import pytest

from accorda.planning.bill import Bill, Change, Moment


def test_items_stand_in_their_order_and_add_up():
    moment = Moment.of("training", {"overhead": 5, "gradients": 2.4, "weights": 10, "adapter": 0})
    assert [(item.name, item.bytes) for item in moment.items] == [("weights", 10), ("gradients", 2), ("overhead", 5)]
    assert moment.total == 17
    assert moment["gradients"] == 2
    assert moment["adapter"] == 0


def test_an_item_that_nobody_explained_is_a_fault():
    with pytest.raises(ValueError, match="pagination"):
        Moment.of("training", {"pagination": 1})


def test_the_fullest_moment_is_the_bill_and_pages_of_files_are_not_needed():
    start = Moment.of("start", {"weights": 10, "mapped files": 30})
    training = Moment.of("training", {"weights": 10, "activations": 20})
    bill = Bill((start, training), "cpu", capacity=30)
    assert bill.total == 40
    assert bill.needed == 30
    assert bill.fits is True
    assert Bill((start, training), "cpu", capacity=29).fits is False
    assert Bill((start, training)).fits is None


def test_as_json_it_says_what_every_item_is():
    change = Change({"training.micro_batch_size": 1}, "one row at a time", total=5, saves=5, fits=True)
    bill = Bill((Moment.of("training", {"weights": 10}),), changes=(change,))
    found = json.loads(json.dumps(bill.to_dict()))
    assert found["items"] == [{"name": "weights", "bytes": 10, "says": bill.items[0].says}]
    assert found["moments"] == [{"name": "training", "total": 10, "items": {"weights": 10}}]
    assert found["changes"][0]["settings"] == {"training.micro_batch_size": 1}
