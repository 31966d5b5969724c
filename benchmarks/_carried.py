"""How often people's choices can be foreseen at all: what a score on compared answers must not exceed."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations
from math import sqrt
from typing import Any

from accorda.data.example import Example
from accorda.data.preferences.check import judged
from accorda.data.preferences.dataset import prompt_of

MOST_ANSWERS = 12
"""Of so many answers to one prompt every order is tried; of more, only pairs that were judged both ways are seen."""
ASSISTANTS = 0.726
"""Ouyang et al., 2022 (arXiv:2203.02155): their labellers agree with each other on 72.6 +- 1.5% of the pairs."""


def ceiling(agreement: float) -> float | None:
    """The most pairs in which any judge can agree with one more judgement, where two of them agree so often.

    Let a pair's first answer be preferred with probability p_i, each judgement for itself. Two judgements agree with
    probability (1 + (2 p_i - 1)^2) / 2, and the best that can be foretold of a third is (1 + |2 p_i - 1|) / 2. The
    mean of |2 p_i - 1| is at most the root of the mean of its square, whatever the pairs: so (1 + sqrt(2 a - 1)) / 2.
    None where judgements agree less often than by chance.
    """
    return (1 + sqrt(2 * agreement - 1)) / 2 if agreement >= 0.5 else None


def consistent(examples: Iterable[Example]) -> float:
    """The share of judged pairs that the best of all orders of the answers to each prompt gets right.

    Below 1 where the same two answers were judged both ways, where judgements go in a circle, or where an answer was
    preferred to itself (half right).
    """
    right = total = 0.0
    for choices in by_prompt(examples).values():
        right, total = right + most_right(choices), total + sum(choices.values())
    return right / total


def by_prompt(examples: Iterable[Example]) -> dict[int, Counter[tuple[str, str]]]:
    """How often which answer was preferred to which, prompt by prompt."""
    found: dict[int, Counter[tuple[str, str]]] = defaultdict(Counter)
    for example in examples:
        found[prompt_of(example)].update(
            (better, worse) for better, worse in judged(example) if better is not None and worse is not None
        )
    return found


def most_right(choices: Counter[tuple[str, str]]) -> float:
    """How many of the choices the best order of these answers agrees with."""
    half = sum(number for (better, worse), number in choices.items() if better == worse) / 2
    answers = sorted({answer for choice in choices for answer in choice})
    if len(answers) > MOST_ANSWERS:
        return half + sum(max(choices[one, other], choices[other, one]) for one, other in combinations(answers, 2))
    best = [0.0] * (1 << len(answers))  # by the set of answers that stand in front, as bits
    for placed in range(1, len(best)):
        members = [at for at in range(len(answers)) if placed >> at & 1]
        best[placed] = max(
            best[placed & ~(1 << last)] + sum(choices[answers[at], answers[last]] for at in members if at != last)
            for last in members
        )
    return half + best[-1]


def ranked_replies(trees: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[tuple[str, float]]]:
    """Rows of Open-Assistant's trees, one for every prompt with several ranked replies, and what likes say of ranks.

    The second: of each pair of ranked replies of which one was liked by more readers (thumbs up less thumbs down), the
    id of their prompt and 1 where the better ranked one is it, else 0.
    """
    rows: list[dict[str, Any]] = []
    likes: list[tuple[str, float]] = []

    def walk(node: dict[str, Any], before: list[dict[str, str]]) -> None:
        turns = [*before, {"role": "user" if node["role"] == "prompter" else "assistant", "content": node["text"]}]
        ranked = [reply for reply in node["replies"] if reply.get("rank") is not None]
        if node["role"] == "prompter" and len({reply["rank"] for reply in ranked}) > 1:
            texts, ranks = [reply["text"] for reply in ranked], [reply["rank"] for reply in ranked]
            rows.append({"messages": turns, "completions": texts, "ranks": ranks})
            for one, other in combinations(sorted(ranked, key=lambda reply: reply["rank"]), 2):
                if one["rank"] < other["rank"] and liked(one) != liked(other):
                    likes.append((node["message_id"], float(liked(one) > liked(other))))
        for reply in node["replies"]:
            walk(reply, turns)

    for tree in trees:
        walk(tree["prompt"], [])
    return rows, likes


def liked(reply: dict[str, Any]) -> int:
    """Thumbs up less thumbs down."""
    thumbs = reply.get("emojis") or {}
    return thumbs.get("+1", 0) - thumbs.get("-1", 0)
