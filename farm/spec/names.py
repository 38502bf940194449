"""Names that people give to weights and wildcards: how they are compared, and which was most likely meant.

Case, spaces, dashes and underscores make no difference, nor does how Unicode composes a letter: who writes
`NG DeepNegative` means the file `ng_deepnegative`. A name that is written exactly goes before all that are alike.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import TypeVar

# Each is compared with all names: a request may be wrong a hundred times.
_MOST_HINTS = 20
_LONGEST_COMPARED = 80
_LIKENESS = 0.6

_SEPARATORS = re.compile(r"[\s_-]+")
_WEIGHTS_SUFFIX = re.compile(r"\.(?:safetensors|ckpt|pt|pth|bin)\Z", re.IGNORECASE)
_Named = TypeVar("_Named")
_TITLE = re.compile(r"(.*?)\s*\[([0-9a-fA-F]{6,64})\]", re.DOTALL)


def plain(name: str) -> str:
    """What is equal for names that are alike."""
    composed = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    return _SEPARATORS.sub("-", composed.strip())


class Names:
    """Names to be looked for, each found in the same time however many there are."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = frozenset(known)
        self._near: dict[tuple[str, float], str | None] = {}

    def alike(self, name: str) -> tuple[str, ...]:
        """The name itself if it is known; else those that are alike: none, one, or several."""
        return (name,) if name in self._known else tuple(self._by_plain.get(plain(name), ()))

    def only(self, name: str) -> str | None:
        """The one that a name means."""
        found = self.alike(name)
        return found[0] if len(found) == 1 else None

    def nearest(self, name: str, *, likeness: float = _LIKENESS) -> str | None:
        """The one that was most likely meant; None where none is near, or many were asked about already."""
        asked = (name, likeness)
        if asked not in self._near and len(self._near) >= _MOST_HINTS:
            return None
        if asked not in self._near:
            near = most_alike(plain(name[:_LONGEST_COMPARED]), self._by_plain, likeness=likeness)
            self._near[asked] = near[0][0] if near else None
        return self._near[asked]

    @cached_property
    def all(self) -> Sequence[str]:
        """Every one, in alphabetical order."""
        return sorted(self._known)

    @cached_property
    def _by_plain(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for name in self.all:
            found[plain(name)].append(name)
        return dict(found)


def as_good_as(registered: str, name: str) -> str:
    """What to say of a name that is taken by one that is written otherwise; nothing if it is the same."""
    return "" if registered == name else f", which is not told from {name!r}"


def most_alike(
    text: str, named: Mapping[str, _Named], *, likeness: float = _LIKENESS, most: int = 1
) -> list[_Named]:
    """What is named most like a text, the likeliest first; both the text and the names in one form for comparing.

    `likeness` is from 0 to 1, which only the same has.
    """
    return [named[form] for form in get_close_matches(text, named, n=most, cutoff=likeness)]


def nearest(name: str, known: Iterable[str], *, likeness: float = _LIKENESS) -> str | None:
    """The known name that was most likely meant; None where none is near."""
    return Names(known).nearest(name, likeness=likeness)


def did_you_mean(near: str | None) -> str:
    """A question to follow a sentence; nothing where no name is near."""
    return f" Did you mean {near!r}?" if near else ""


def nearest_hint(name: str, known: Iterable[str]) -> str:
    """The question for one of these names."""
    return did_you_mean(nearest(name, known))


def title_parts(title: str) -> Iterator[tuple[str, str | None]]:
    """What a name may mean, with the hash that is said of it: as it is, and as the WebUI titles checkpoints.

    Its titles are `folder/name.safetensors [hash]`; folder, suffix and hash may each be missing.
    """
    yield title, None
    match = _TITLE.fullmatch(title.strip())
    name, digest = (match[1], match[2].lower()) if match else (title.strip(), None)
    stem = _WEIGHTS_SUFFIX.sub("", name)
    yield from ((part, digest) for part in dict.fromkeys((name, stem, re.split(r"[/\\]", stem)[-1])) if part)
