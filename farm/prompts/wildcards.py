"""Wildcards: lists of texts by name; `__name__` in a prompt means one of them, and `*` in a name several lists."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

from farm.prompts.template import Choice, WeightedOption, build_choice, refusal
from farm.spec.names import Names, most_alike, plain

Wildcards = Mapping[str, Sequence[str]]

# Choices within choices and wildcards within wildcards; each takes some of Python's stack.
DEEPEST = 60
_MOST_NAMED = 10
# How similar words between two __ must be to a wildcard's name to count as a misspelling of it.
_LIKENESS = 0.8


@dataclass(frozen=True)
class Nesting:
    """How deeply a text is nested in choices and wildcards, and the wildcards that lead to it."""

    depth: int = 0
    trail: tuple[str, ...] = ()

    def descend(self) -> "Nesting":
        """One level deeper. Raises InvalidRequest beyond DEEPEST."""
        if self.depth == DEEPEST:
            raise refusal(f"choices and wildcards are nested more than {DEEPEST} deep")
        return Nesting(self.depth + 1, self.trail)

    def enter_wildcard(self, name: str) -> "Nesting":
        """Within a wildcard. Raises InvalidRequest if that leads back to itself."""
        if name in self.trail:
            path = " -> ".join(f"__{step}__" for step in (*self.trail, name))
            raise refusal(f"the wildcard __{name}__ leads back to itself: {path}")
        return Nesting(self.descend().depth, (*self.trail, name))


class WildcardLookup:
    """The wildcards of one request: each is parsed once; `spend` is called with the lines that this costs."""

    def __init__(self, wildcards: Wildcards, spend: Callable[[int], None] = lambda _: None) -> None:
        self._wildcards = wildcards
        self._spend = spend
        self._found: dict[str, Choice] = {}
        self._names = Names(wildcards)

    def choice(self, name: str) -> Choice:
        """One of the lines of all the wildcards that a name means, these in alphabetical order.

        Words with spaces that are no wildcard's name, nor nearly one, are prose. Raises InvalidRequest that names
        the nearest if there are none, or no lines.
        """
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def _find(self, name: str) -> Choice:
        if " " in name and self._is_prose(name):
            return Choice((WeightedOption(1.0, (f"__{name}__",)),))
        names = self._match_pattern(name) if "*" in name else [self._resolve(name)]
        if not names:
            raise refusal(_describe_unknown(name, self._wildcards))
        self._spend(len(self._wildcards) + sum(len(self._wildcards[known]) for known in names))
        choice = build_choice(tuple(line for known in names for line in self._wildcards[known]))
        if not choice.options:
            raise refusal(f"the wildcard __{name}__ has no lines")
        return choice

    def _is_prose(self, name: str) -> bool:
        if "*" in name:
            return not self._match_pattern(name)
        return not self._find_alike(name) and not self._names.nearest(name, likeness=_LIKENESS)

    def _match_pattern(self, pattern: str) -> list[str]:
        """The names that a pattern fits; of a pack also without the name of its file, as other tools call them."""
        fitting = [known for known in self._wildcards if fnmatchcase(known, pattern)]
        return sorted(fitting or (known for known in self._wildcards if fnmatchcase(known, f"*/{pattern}")))

    def _resolve(self, name: str) -> str:
        """The name itself, one that is like it, or the only one of a pack. Raises InvalidRequest."""
        alike = self._find_alike(name)
        if not alike:
            raise refusal(_describe_unknown(name, self._wildcards))
        if len(alike) > 1:
            named = ", ".join(f"__{other}__" for other in alike[:_MOST_NAMED])
            raise refusal(f"__{name[:80]}__ may be any of {named}: write the one that is meant exactly")
        return alike[0]

    def _find_alike(self, name: str) -> tuple[str, ...]:
        """The name itself, those that are like it, or those of packs that it shortens."""
        last = plain(name).rpartition("/")[2]
        return self._names.alike(name) or tuple(k for k in self._by_last.get(last, ()) if _is_shortened(name, k))

    @cached_property
    def _by_last(self) -> Mapping[str, list[str]]:
        """The names by the last part of each: a search through all of thousands of names took minutes."""
        found: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self._wildcards):
            found[plain(name).rpartition("/")[2]].append(name)
        return found


def _is_shortened(name: str, known: str) -> bool:
    """Whether a name is a known one without some of the folders, files and keys that lead to it."""
    asked, parts = plain(name).split("/"), iter(plain(known).split("/"))
    return plain(known).endswith(f"/{asked[-1]}") and all(part in parts for part in asked)


def _describe_unknown(name: str, wildcards: Wildcards) -> str:
    if not wildcards:
        return f"there is no wildcard __{name[:80]}__; none are registered"
    known = sorted(wildcards)
    near = most_alike(plain(name[:80]), {plain(other): other for other in known}, most=3) or known
    more = f" and {len(near) - _MOST_NAMED} more" if len(near) > _MOST_NAMED else ""
    named = ", ".join(f"__{other}__" for other in near[:_MOST_NAMED])
    nearest = "the nearest are" if near is not known else "known are"
    return f"there is no wildcard __{name[:80]}__; {nearest} {named}{more}"
