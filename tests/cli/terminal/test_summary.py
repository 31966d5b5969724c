"""The numbers of a run, in words."""

import pytest

from accorda.cli.terminal.summary import told


@pytest.mark.parametrize(("peak", "share"), [(1_090_000_000, None), (1_250_000_000, "25%"), (500_000_000, None)])
def test_memory_beyond_the_bill_is_worth_a_report(peak, share):
    text = told({"output": "runs/a", "peak_memory_bytes": peak, "bill_bytes": 1_000_000_000})
    assert ("report it" in text) == (share is not None)
    assert share is None or f"above the bill  {share}: " in text
