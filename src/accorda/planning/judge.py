"""A reward model as a bill sees it."""

from dataclasses import dataclass

from transformers import PreTrainedModel

from accorda.planning.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Judge:
    """What judges the answers of a phase.

    work: its largest pass. model: of its own, None where it hangs on the policy's base. own: names of parameters of the
    policy's model that are its adapter's already. beside: bytes of what it holds that is in no model here.
    """

    work: Workload
    model: PreTrainedModel | None = None
    own: frozenset[str] = frozenset()
    beside: int = 0
