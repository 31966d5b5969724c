"""Which trainable tensors may keep their start value, and who declared why."""

from accorda.methods.install import resting
from accorda.training.session import Session


def declared_rest(session: Session) -> dict[str, str]:
    """Names of trainable parameters, each with the reason that its method declared.

    A method that draws (`traits.stochastic`) may leave tensors undrawn in a short run.
    """
    found = resting(session.model)
    for method in session.method:
        if method.traits.stochastic:
            drawn = f"{type(method).__name__} draws which of its tensors act, and never drew it in these steps"
            found = dict.fromkeys(session.loop.parameters(), drawn) | found
    return found
