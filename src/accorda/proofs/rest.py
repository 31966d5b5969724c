"""Which trainable tensors may keep their start value, and who declared why."""

from accorda.methods.install import resting
from accorda.models.heads import new_heads
from accorda.models.roles import sites
from accorda.training.rewarding import Rewarding
from accorda.training.session import Session

SHIFTS = (".delta", ".bias")


def declared_rest(session: Session) -> dict[str, str]:
    """Names of trainable parameters, each with the reason that its method declared.

    A method that draws (`traits.stochastic`) may leave tensors undrawn in a short run.
    """
    found = shifts_of_rewards(session) | resting(session.model)
    for method in session.method:
        if method.traits.stochastic:
            drawn = f"{type(method).__name__} draws which of its tensors act, and never drew it in these steps"
            found = dict.fromkeys(session.loop.parameters(), drawn) | found
    return found


def shifts_of_rewards(session: Session) -> dict[str, str]:
    """What adds the same to every reward, of a reward model of whose rewards only differences are learned."""
    if not isinstance(session.objective, Rewarding) or session.objective.centring:
        return {}
    last = [site.name for site in sites(session.model) if site.role == "norm"]
    places = (*(f"{name}." for name in last), *(f"{name}." for name in new_heads(session.model)))
    shifts = [name for name in session.loop.parameters() if name.startswith(places) and name.endswith(SHIFTS)]
    return dict.fromkeys(shifts, "a shift of all rewards alike changes no difference of rewards")
