"""How dynamic prompts are written: `{a|b}`, `{2::often|rarely}`, `{2$$a|b|c}`, `{1-2$$ and $$a|b}`, `__wildcard__`.

The language is that of sd-dynamic-prompts, the WebUI's extension, but for its variables and comments. An
unmatched brace is text. A backslash takes the meaning from what follows it, and stays in the text: it means the
same in the rest of the prompt language, and an unfolded prompt can be unfolded again.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, groupby
from threading import Lock

from farm.errors import InvalidRequest

_SEPARATOR = ", "

# Beyond ASCII the names of wildcards hold all but spaces and punctuation: vowel signs are no letters to Python, and
# half of a word in Thai. A name with spaces stands by itself, `a __hair color__ fox`: in `a__b and c__sky__` the
# first two __ are text. Words that turn out to be no wildcard's name are prose, and stay as they are.
_PUNCTUATION = (
    r"\x00-\xbf\s\u2000-\u200b\u200e-\u206f\u2e00-\u2e7f\u3000-\u3003\u3008-\u3020\uff00-\uff0f\uff1a-\uff20"
)
_BEYOND_ASCII = rf"[^{_PUNCTUATION}]"
# A name is matched possessively (`++`): backtracking into it would double the work with each letter.
_IN_NAME = rf"[^\W_] | [-./*] | {_BEYOND_ASCII} | _(?!_)"
_TOKEN = re.compile(
    rf"""
      (?P<escape> \\ (?: . | \Z ) )
    | __ (?P<wildcard> (?!_) (?: {_IN_NAME} )++ ) __
    | (?<![A-Za-z0-9]) __ (?P<spaced> (?![_ ]) (?: {_IN_NAME} | [ ](?![_ ]) ){{2,80}}+ ) __ (?![A-Za-z0-9])
    | (?P<open> \$? \{{ (?: \s* (?P<count> \d{{1,4}} (?: - \d{{0,4}} )? | - \d{{1,4}} ) \$\$
                           (?: (?P<separator> [^${{}}\\]* ) \$\$ )? )? )
    | (?P<close> \}} )
    | (?P<bar> \| )
    | (?P<text> [^\\{{}}|_$]+ | [_$] )
    """,
    re.VERBOSE | re.DOTALL,
)
_WEIGHT = re.compile(r"\s*(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})::")


@dataclass(frozen=True)
class WildcardName:
    """`__name__`; the name may hold `*`, and one that holds spaces may be prose."""

    name: str


@dataclass(frozen=True)
class WeightedOption:
    """One of a choice, and how often it is drawn compared with the others."""

    weight: float
    template: tuple["TemplateNode", ...]


@dataclass(frozen=True)
class Choice:
    """So many of the options, at least `fewest` and at most `most`, which may be more than there are."""

    options: tuple[WeightedOption, ...]
    fewest: int = 1
    most: int = 1
    separator: str = _SEPARATOR

    @property
    def is_counted(self) -> bool:
        """Whether it is not simply one of them."""
        return (self.fewest, self.most) != (1, 1)

    @property
    def only_wildcard(self) -> "WildcardName | None":
        """The wildcard that all options come from: `{2$$__name__}` means two different lines of it."""
        only = self.options[0].template if len(self.options) == 1 else ()
        return only[0] if self.is_counted and len(only) == 1 and isinstance(only[0], WildcardName) else None

    @cached_property
    def summed_weights(self) -> tuple[float, ...]:
        return tuple(accumulate(option.weight for option in self.options))


TemplateNode = str | WildcardName | Choice
Template = tuple[TemplateNode, ...]


def refusal(message: str) -> InvalidRequest:
    return InvalidRequest.at("prompt", message)


def may_be_dynamic(text: str) -> bool:
    """Whether there may be anything to unfold: a cheap test that rules out most texts and lines."""
    return "{" in text or "__" in text


def is_dynamic(text: str) -> bool:
    """Whether there is anything to unfold."""
    if not may_be_dynamic(text):
        return False
    tokens = list(_TOKEN.finditer(text))
    return bool(_match_braces(tokens)) or any(_wildcard_name(token) for token in tokens)


def can_be_called(name: str) -> bool:
    """Whether `__name__` in a prompt means one wildcard of just this name."""
    found = _TOKEN.fullmatch(f"__{name}__")
    return found is not None and _wildcard_name(found) == name and "*" not in name


def _wildcard_name(token: re.Match[str]) -> str | None:
    return token["wildcard"] or token["spaced"]


class _ChoiceCache:
    """The wildcards that were parsed recently: the requests of a farm name the same ones over and over.

    Bounded by their lines: a hundred thousand of them take some 30 MB.
    """

    def __init__(self, most_lines: int) -> None:
        self._most_lines = most_lines
        self._choices: OrderedDict[tuple[str, ...], Choice] = OrderedDict()
        self._lines = 0
        self._lock = Lock()

    def get(self, lines: tuple[str, ...]) -> Choice | None:
        with self._lock:
            if lines in self._choices:
                self._choices.move_to_end(lines)
            return self._choices.get(lines)

    def put(self, lines: tuple[str, ...], choice: Choice) -> None:
        with self._lock:
            if lines not in self._choices:
                self._choices[lines] = choice
                self._lines += len(lines)
            while self._lines > self._most_lines:
                oldest, _ = self._choices.popitem(last=False)
                self._lines -= len(oldest)


_CHOICES = _ChoiceCache(most_lines=500_000)


def build_choice(lines: tuple[str, ...]) -> Choice:
    """One of a wildcard's lines; empty ones and those that begin with # are none."""
    choice = _CHOICES.get(lines)
    if choice is None:
        stripped = (line.strip() for line in lines)
        choice = Choice(
            _drop_impossible(_parse_option(parse(line)) for line in stripped if line and not line.startswith("#"))
        )
        _CHOICES.put(lines, choice)
    return choice


def parse(text: str) -> Template:
    """The text as nodes. Raises InvalidRequest for weights that are all 0, and for a variable."""
    if not may_be_dynamic(text):
        return (text,) if text else ()
    tokens = list(_TOKEN.finditer(text))
    matched = _match_braces(tokens)
    frames = [_OpenBraces(opener=None)]
    for index, token in enumerate(tokens):
        kind = token.lastgroup
        if kind == "open" and index in matched:
            frames.append(_OpenBraces(token))
        elif kind == "close" and index in matched:
            choice = frames.pop().choice()
            frames[-1].options[-1].append(choice)
        elif kind == "bar" and len(frames) > 1:
            frames[-1].options.append([])
        elif name := _wildcard_name(token):
            frames[-1].options[-1].append(WildcardName(name))
        else:
            frames[-1].options[-1].append(token[0])
    return _compact(frames[0].options[0])


def count_signs(text: str) -> int:
    """What takes time to read in a text: its braces, bars and wildcards, or a little more."""
    return text.count("{") + text.count("|") + text.count("__") if may_be_dynamic(text) else 0


@dataclass
class _OpenBraces:
    """A pair of braces that is being read; the outermost is the whole text and has no opener."""

    opener: re.Match[str] | None
    options: list[list[TemplateNode]] = field(default_factory=lambda: [[]])

    def choice(self) -> Choice:
        assert self.opener is not None
        if self.opener[0].startswith("$"):
            raise refusal(r"variables like ${name} are not supported; write \{ for a brace that is text")
        options = _drop_impossible(_parse_option(_compact(option)) for option in self.options)
        if self.opener["count"] is None:
            return Choice(options)
        separator = self.opener["separator"]
        fewest, most = _parse_bounds(self.opener["count"])
        return Choice(options, fewest, most, _SEPARATOR if separator is None else separator)


def _match_braces(tokens: Sequence[re.Match[str]]) -> set[int]:
    """The indices of the tokens that are matched braces."""
    matched: set[int] = set()
    opened: list[int] = []
    for index, token in enumerate(tokens):
        if token.lastgroup == "open":
            opened.append(index)
        elif token.lastgroup == "close" and opened:
            matched |= {opened.pop(), index}
    return matched


def _parse_bounds(count: str) -> tuple[int, int]:
    """`2`, `1-3`, `-3` from one, `2-` to as many as there are; the other way round means the same."""
    first, dash, last = count.partition("-")
    if not dash:
        return int(first), int(first)
    fewest, most = sorted((int(first or 1), int(last or 9999)))
    return fewest, most


def _parse_option(template: Template) -> WeightedOption:
    first = template[0] if template else ""
    weight = _WEIGHT.match(first) if isinstance(first, str) and "::" in first else None
    if weight is None:
        return WeightedOption(1.0, template)
    return WeightedOption(float(weight[1]), _compact([weight.string[weight.end() :], *template[1:]]))


def _drop_impossible(options: Iterable[WeightedOption]) -> tuple[WeightedOption, ...]:
    """Those options that can be drawn at all."""
    options = tuple(options)
    possible = tuple(option for option in options if option.weight > 0)
    if options and not possible:
        raise refusal("the weights of a choice are all 0")
    return possible


def _compact(nodes: Iterable[TemplateNode]) -> Template:
    """The nodes with neighbouring texts joined and empty ones left out."""
    nodes = list(nodes)
    if len(nodes) == 1 and nodes[0]:
        return (nodes[0],)
    joined: list[TemplateNode] = []
    for is_text, run in groupby(nodes, key=lambda node: isinstance(node, str)):
        if not is_text:
            joined.extend(run)
        elif text := "".join(map(str, run)):
            joined.append(text)
    return tuple(joined)
