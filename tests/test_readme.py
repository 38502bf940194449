"""The README and the pages of `docs/` keep up with the code, and their links with each other."""

import re
from functools import cache
from pathlib import Path

import click
import pytest

from farm.cli.main import main
from farm.config import Settings
from farm.spec.samplers import SAMPLERS, SCHEDULE_TYPES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in (ROOT / "README.md", *DOCS.glob("*.md"))}
PAGE = pytest.mark.parametrize("page", sorted(PAGES))

MOST_LINES_OF_THE_README = 200

_FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PATH = re.compile(r"(?<![\w./-])(?:farm|workers|web|migrations|tests|docker)/[\w./]*\w")
_TEST = re.compile(r"`(?:[\w/]*/)?(test_\w+)(?:\.py)?`")


def links_of(page: str) -> list[str]:
    """The relative links of a page."""
    found = _LINK.findall(_FENCED.sub("", PAGES[page]))
    return [link for link in found if "://" not in link]


def anchors_of(text: str) -> set[str]:
    """What a link into a page may name: its headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_found(page: str, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (ROOT / page).parent / path if path else ROOT / page
    return target.exists() and (not anchor or anchor in anchors_of(target.read_text()))


@cache
def names_of_tests() -> frozenset[str]:
    """The names of all test modules and test functions."""
    modules = list((ROOT / "tests").rglob("test_*.py"))
    functions = (re.findall(r"^\s*def (test_\w+)", module.read_text(), re.MULTILINE) for module in modules)
    return frozenset({module.stem for module in modules}.union(*functions))


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_in_the_page_of_settings(name: str) -> None:
    assert f"`FARM_{name.upper()}`" in PAGES["docs/configuration.md"]


@pytest.mark.parametrize("name", main.list_commands(click.Context(main)))
def test_every_command_is_named_where_commands_are_listed(name: str) -> None:
    page = PAGES["docs/operating.md"]
    assert f"farm {name}" in page or f"|{name}" in page


@pytest.mark.parametrize("name", [*SAMPLERS, *SCHEDULE_TYPES])
def test_every_sampler_and_schedule_type_is_named(name: str) -> None:
    assert re.search(rf"(\W){re.escape(name)}[,.]", " ".join(PAGES["docs/prompts-and-sweeps.md"].split()))


def test_the_readme_is_read_in_three_minutes() -> None:
    assert len(PAGES["README.md"].splitlines()) <= MOST_LINES_OF_THE_README


@PAGE
def test_every_page_is_linked_from_the_readme(page: str) -> None:
    linked = {link.partition("#")[0] for link in links_of("README.md")}
    assert page in {*linked, "README.md", "docs/README.md"}


@PAGE
def test_every_relative_link_leads_somewhere(page: str) -> None:
    assert [link for link in links_of(page) if not is_found(page, link)] == []


@PAGE
def test_every_test_that_a_page_names_exists(page: str) -> None:
    assert set(_TEST.findall(PAGES[page])) - names_of_tests() == set()


@PAGE
def test_every_file_that_a_page_names_exists(page: str) -> None:
    assert [path for path in _PATH.findall(PAGES[page]) if not (ROOT / path).exists()] == []
