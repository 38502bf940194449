"""What a user calls a thing is shown to everybody else as it is, and does nothing there."""

from io import StringIO

import pytest
from rich.console import Console

from farm.cli.console import build_table


def shown(name: str) -> str:
    """What a terminal gets of a table with the name in it."""
    screen = StringIO()
    Console(file=screen, force_terminal=True, width=80).print(build_table([name], {"NAME": str, "STATUS": str}))
    return screen.getvalue()


@pytest.mark.parametrize("name", [r"\[/nope]", "[/nope]", "[red]a[/]", "[link=https://x]a", r"a\\[b]", "a\\"])
def test_a_name_is_never_read_as_markup(name: str) -> None:
    assert shown(name).count(name) == 2


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\nb", "a\x9bb", "a\u202eb"])
def test_a_name_cannot_command_the_terminal(name: str) -> None:
    assert name not in shown(name)
