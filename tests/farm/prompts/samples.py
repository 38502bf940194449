"""Texts that tests draw: without any syntax, made of syntax, and made to take long."""

from hypothesis import strategies as st

_SIGNS = r"()[]{}|:\<>_$"
_KEYWORDS = ("AND", "BREAK")
_PIECES = [
    *_SIGNS,
    *" \n,.-a5é",
    *(" AND ", "BREAK", ":1.3)", "(a:1.2)", "[a:b:0.5]", "[a|b]", ":3]", "::", "1-2$$", "{a|b}", "__w__", "__*__"),
    *("<lora:a:0.5>", "<x:y>", ":0.7", "2", ".5", "${", "\\|"),
]

PLAIN = st.text(st.characters(exclude_characters=_SIGNS, exclude_categories=["Cs"])).filter(
    lambda text: bool(text) and not any(keyword in text for keyword in _KEYWORDS)
)
SYNTAX = st.lists(st.sampled_from(_PIECES), max_size=40).map("".join) | st.text()

LENGTH = 10_000
REPEATED = (
    *_SIGNS,
    *("AND ", " AND", "BREAK ", " BREAK", " ", ": ", "a|", "<a:", "<lora:a>", "__a", "__a__"),
    *("(a", "(a:1.1)", "[a:", "[a|", "[|]", "[a|b]", "[(a)|b]", "[a:b:3]", "[a|b|c|d|e]x"),
    *("{a|", "{}", "{a|b}", "{a|a}", "{9$$a|", "{1$$"),
)
HOSTILE = {
    **{unit: (unit * LENGTH)[:LENGTH] for unit in REPEATED},
    "deep round": "(" * 5000 + ")" * 5000,
    "deep square": "[" * 5000 + "]" * 5000,
    "deep braces": "{" * 5000 + "}" * 5000,
    "deep weights": "(a" * 2000 + ":1.1)" * 1200,
    "deep alternation": "[" * 2500 + "a" + "|b]" * 2500,
    "deep schedule": "[" * 1600 + "a" + ":b:3]" * 1600,
    "long number": "(a:" + "1" * 9990 + ")",
    "no number": ":" + "1" * 9999,
    "alternation of many lengths": "".join("[" + "|".join("(a)b"[:n]) + "]" for n in (2, 3, 4)) * 400,
}
