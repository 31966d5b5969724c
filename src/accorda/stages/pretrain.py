"""Autoregressive pre-training: every token of running text, in blocks of `max_length`."""

from accorda.stages.contract import Stage
from accorda.training.next_token import NextToken

STAGE = Stage(rows="pretrain", objective=lambda recipe: NextToken)
