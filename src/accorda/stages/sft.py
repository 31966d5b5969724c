"""Supervised fine-tuning: learn the completion given the prompt, for instructions or for one task."""

from accorda.stages.contract import Stage
from accorda.training.next_token import NextToken

STAGE = Stage(rows="sft", objective=lambda recipe: NextToken)
