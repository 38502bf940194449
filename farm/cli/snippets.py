"""The commands for styles and wildcards."""

from pathlib import Path

import click

from farm.cli.console import json_option, one_line, open_database, print_rows
from farm.intake import snippets
from farm.intake.wildcardfiles import read_wildcard_files
from farm.reports.shapes import StyleReport, WildcardReport

_FILE = click.Path(exists=True, path_type=Path)


@click.group()
def styles() -> None:
    """Named pieces of prompt, as in the WebUI's styles.csv."""


@styles.command("add")
@click.argument("file", type=_FILE)
def add_styles(file: Path) -> None:
    """Store the styles of a styles.csv; those of the same name are replaced."""
    found = snippets.read_styles_file(file)
    with open_database().begin() as session:
        count = snippets.put_styles(session, found)
    click.echo(f"Added {count} style{'' if count == 1 else 's'}.")


@styles.command("list")
@json_option
def list_styles(as_json: bool) -> None:
    """List the styles."""
    with open_database().begin() as session:
        found = [StyleReport.model_validate(style) for style in snippets.all_styles(session)]
    print_rows(
        found,
        {
            "NAME": lambda style: style.name,
            "PROMPT": lambda style: style.prompt[:60],
            "NEGATIVE": lambda style: style.negative_prompt[:40],
        },
        as_json=as_json,
    )


@styles.command("remove")
@click.argument("name")
def remove_style(name: str) -> None:
    """Remove a style."""
    with open_database().begin() as session:
        snippets.remove_style(session, name)
    click.echo(f"Removed {name}.")


@click.group()
def wildcards() -> None:
    """Named lists that `__name__` in a prompt draws from."""


@wildcards.command("add")
@click.argument("path", metavar="FILE|DIR", type=_FILE)
def add_wildcards(path: Path) -> None:
    """Store a text file as a wildcard, with a choice on each line; of a folder all files, named by their path.

    A pack in YAML or JSON is a wildcard for each of its lists, named by the keys that lead to it.
    """
    found = read_wildcard_files(path)
    with open_database().begin() as session:
        for name, lines in found.lines.items():
            snippets.put_wildcard(session, name, lines)
    click.echo(f"Added {', '.join(f'__{name}__' for name in found.lines)}.")
    for file in found.left_out:
        click.echo(f"Left out, because it is not a .txt, .yaml or .json file: {one_line(file)}", err=True)
    for file in found.empty:
        click.echo(f"Left out, because it has no lines: {one_line(file)}", err=True)


@wildcards.command("list")
@json_option
def list_wildcards(as_json: bool) -> None:
    """List the wildcards."""
    with open_database().begin() as session:
        found = [WildcardReport.model_validate(wildcard) for wildcard in snippets.all_wildcards(session)]
    print_rows(
        found,
        {
            "NAME": lambda wildcard: wildcard.name,
            "CHOICES": lambda wildcard: str(len(wildcard.lines)),
            "FIRST": lambda wildcard: wildcard.lines[0][:60],
        },
        as_json=as_json,
    )


@wildcards.command("remove")
@click.argument("name")
def remove_wildcard(name: str) -> None:
    """Remove a wildcard."""
    with open_database().begin() as session:
        snippets.remove_wildcard(session, name)
    click.echo(f"Removed {name}.")
