"""How texts are made comparable before they are compared.

`basic` drops case and surplus spaces. `squad` is the normalisation of Rajpurkar et al. 2016 (arXiv:1606.05250): lower
case, then without ASCII punctuation, then without the articles a, an, the, then single spaces.
"""

import re
import string
from typing import Literal

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalised(text: str, how: Literal["none", "basic", "squad"]) -> str:
    """The text without what `how` declares to be no difference."""
    if how == "none":
        return text
    text = text.lower()
    if how == "squad":
        text = ARTICLES.sub(" ", text.translate(PUNCTUATION))
    return " ".join(text.split())
