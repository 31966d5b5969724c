"""What makes data sets, by the rows that a renderer is for."""

from accorda.data.labelled.prepare import LabelledPreparation
from accorda.data.labelled.renderer import LabelledRenderer
from accorda.data.preferences.prepare import PreferencePreparation
from accorda.data.preferences.renderer import PreferenceRenderer
from accorda.data.prepare import Preparation
from accorda.data.prompts.prepare import PromptPreparation
from accorda.data.prompts.renderer import PromptRenderer
from accorda.data.settings import Settings

KINDS: dict[type, type[Preparation]] = {
    LabelledRenderer: LabelledPreparation,
    PreferenceRenderer: PreferencePreparation,
    PromptRenderer: PromptPreparation,
}


def preparation(settings: Settings) -> Preparation:
    """What makes the datasets of these settings, whatever rows they are about."""
    return KINDS.get(type(settings.renderer), Preparation)(settings)
