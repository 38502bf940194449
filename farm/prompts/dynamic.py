"""Dynamic prompts: what `farm.prompts.template` describes, unfolded when a job is submitted.

The library `dynamicprompts` does the same, and does not serve: a # or // cuts off the rest of a prompt, a lone
{ or $ is an error and some hundred { a RecursionError, braces cannot be escaped, an unknown wildcard stays in
the prompt, and nothing bounds what it unfolds into.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations, product
from random import Random

from farm.prompts import template
from farm.prompts.template import Choice, Node, Option, Template, WildcardName, parse, refusal
from farm.prompts.wildcards import Lookup, Place, Wildcards

# A bound on what one prompt may draw and how long it may get: wildcards within wildcards multiply.
LONGEST_PROMPT = 100_000
# A bound on the memory that all the prompts of one template may take.
_MOST_CHARACTERS = 64 * 2**20


def is_dynamic(text: str) -> bool:
    """Whether a prompt holds a choice or a wildcard."""
    return template.is_dynamic(text)


def unfold_random(text: str, wildcards: Wildcards | Lookup, seed: int) -> str:
    """One prompt, decided by the seed alone: the same on every machine and in every version of Python.

    Whoever unfolds many prompts shares a Lookup among them: large wildcards are read once.

    Raises InvalidRequest for an unknown wildcard, one that leads back to itself, and a prompt that gets
    too long.
    """
    return _Draw(_lookup(wildcards), seed).text(parse(text), Place())


def unfold_all(text: str, wildcards: Wildcards | Lookup, limit: int) -> list[str]:
    """Every prompt that can be drawn, each once; what stands last changes fastest.

    Raises InvalidRequest as `unfold_random` does, and where there are more than `limit`.
    """
    return list(dict.fromkeys(_Every(_lookup(wildcards), limit).texts(parse(text), Place())))


def _lookup(wildcards: Wildcards | Lookup) -> Lookup:
    return wildcards if isinstance(wildcards, Lookup) else Lookup(wildcards)


def _entered(node: Choice | WildcardName, lookup: Lookup, place: Place) -> tuple[Choice, Place]:
    """What is to be chosen from, and where its options stand."""
    if isinstance(node, WildcardName):
        return lookup.choice(node.name), place.through(node.name)
    if (wildcard := node.only_wildcard) is not None:
        return replace(node, options=lookup.choice(wildcard.name).options), place.through(wildcard.name)
    return node, place.within()


class _Draw:
    """One drawing of one prompt. Only `Random.random` is used, which Python promises never to change."""

    def __init__(self, lookup: Lookup, seed: int) -> None:
        self._lookup = lookup
        self._random = Random(seed).random
        self._left = LONGEST_PROMPT

    def text(self, nodes: Template, place: Place) -> str:
        return "".join(self._node(node, place) for node in nodes)

    def _node(self, node: Node, place: Place) -> str:
        self._spend(len(node) if isinstance(node, str) else 1)
        if isinstance(node, str):
            return node
        return self._chosen(*_entered(node, self._lookup, place))

    def _chosen(self, choice: Choice, place: Place) -> str:
        if not choice.is_counted:
            return self.text(self._one(choice).template, place)
        most = min(choice.most, len(choice.options))
        fewest = min(choice.fewest, most)
        count = fewest + int(self._random() * (most - fewest + 1))
        self._spend(len(choice.separator) * count)
        return choice.separator.join(self.text(option.template, place) for option in self._several(choice, count))

    def _spend(self, characters: int) -> None:
        """A choice counts as a character: wildcards within wildcards could also choose nothing for ever."""
        self._left -= characters
        if self._left < 0:
            raise refusal(f"unfolds into more than {LONGEST_PROMPT:,} characters")

    def _one(self, choice: Choice) -> Option:
        sums = choice.summed_weights
        return choice.options[min(bisect_right(sums, self._random() * sums[-1]), len(sums) - 1)]

    def _several(self, choice: Choice, count: int) -> Sequence[Option]:
        """So many options in the order in which they would be drawn one after the other.

        Each waits for an exponential time at the rate of its weight, and the first to come are taken: the
        same as to draw without putting back, but without going through the rest again for each.
        """
        waits = [-math.log(1 - self._random()) / option.weight for option in choice.options]
        order = sorted(range(len(waits)), key=waits.__getitem__)
        return [choice.options[index] for index in order[:count]]


class _Every:
    """All prompts of a template. Whatever would make more than the limit is refused before it is made."""

    def __init__(self, lookup: Lookup, limit: int) -> None:
        self._lookup = lookup
        self._limit = limit
        self._from_wildcards: dict[Node, list[str]] = {}

    def texts(self, nodes: Template, place: Place) -> list[str]:
        parts = []
        count = 1
        for node in nodes:
            parts.append(self._node(node, place))
            count *= len(parts[-1])
            self._check(count, 0)
        self._check(count, sum(sum(map(len, part)) * (count // len(part)) for part in parts))
        return ["".join(chosen) for chosen in product(*parts)]

    def _node(self, node: Node, place: Place) -> list[str]:
        if isinstance(node, str):
            return [node]
        if isinstance(node, Choice) and node.only_wildcard is None:
            return self._each(node, place)
        if node not in self._from_wildcards:
            self._from_wildcards[node] = self._each(node, place)
        return self._from_wildcards[node]

    def _each(self, node: Choice | WildcardName, place: Place) -> list[str]:
        return list(dict.fromkeys(self._chosen(*_entered(node, self._lookup, place))))

    def _chosen(self, choice: Choice, place: Place) -> Iterator[str]:
        options: list[list[str]] = []
        count = characters = 0
        for option in choice.options:
            options.append(self.texts(option.template, place))
            count += len(options[-1])
            # Each text of each option can be drawn, unless nothing is.
            self._check(count if choice.most else 1, 0)
        count = 0
        for size in range(min(choice.fewest, len(options)), min(choice.most, len(options)) + 1):
            self._check(math.perm(len(options), size), 0)
            for chosen in permutations(options, size):
                for texts in product(*chosen):
                    said = choice.separator.join(texts)
                    count, characters = count + 1, characters + len(said)
                    self._check(count, characters)
                    yield said

    def _check(self, count: int, characters: int) -> None:
        if count > self._limit:
            raise refusal(f"unfolds into more than {self._limit:,} prompts")
        if characters > _MOST_CHARACTERS:
            raise refusal(f"unfolds into more than {_MOST_CHARACTERS:,} characters")
