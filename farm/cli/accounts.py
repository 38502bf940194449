"""The commands for accounts, which a portal needs as soon as others can reach it."""

import math

import click

from farm import accounts
from farm.cli.console import format_age, json_option, one_line, open_database, print_rows

_name = click.argument("name")
_WEIGHT = click.FloatRange(0.001, 1000)


def _read_weight(context: click.Context, parameter: click.Parameter, text: str) -> float:
    weight: float = _WEIGHT(text, parameter, context)
    if math.isnan(weight):
        raise click.BadParameter(f"{text!r} is not a number.", context, parameter)
    return weight


def _read_weight_or_none(context: click.Context, parameter: click.Parameter, text: str) -> float | None:
    """None for the word `none`."""
    return None if text == "none" else _read_weight(context, parameter, text)


@click.group()
def users() -> None:
    """Manage accounts and their API keys."""


@users.command()
@_name
def add(name: str) -> None:
    """Create an account, or another key for it; the key is shown once."""
    with open_database().begin() as session:
        key = accounts.add_user(session, name)
    _print_key(key)


@users.command("list")
@click.argument("name", default="")
@json_option
def list_users(name: str, as_json: bool) -> None:
    """List the accounts, or those whose names begin with NAME, and how their valid keys begin."""
    with open_database().begin() as session:
        found = list(accounts.all_users(session, name))
    print_rows(
        found,
        {
            "NAME": lambda user: user.name,
            "WEIGHT": lambda user: f"{user.weight:g}",
            "KEYS": lambda user: ", ".join(f"farm_{prefix}_..." for prefix in user.keys),
            "STATUS": lambda user: (
                f"disabled {format_age(user.disabled_at)} ago" if user.disabled_at else "enabled"
            ),
            "AGE": lambda user: format_age(user.created_at),
        },
        as_json=as_json,
    )


@users.command()
@_name
def rotate(name: str) -> None:
    """Revoke all keys of an account and create a new one, which is shown once."""
    with open_database().begin() as session:
        key = accounts.rotate_keys(session, name)
    _print_key(key)


@users.command()
@click.argument("key", metavar="PREFIX")
def revoke(key: str) -> None:
    """Revoke one key, named by the eight characters after `farm_`, or by the whole key."""
    with open_database().begin() as session:
        owner = accounts.revoke_key(session, key)
    click.echo(f"The key of {one_line(owner)} is revoked.")


@users.command()
@_name
def disable(name: str) -> None:
    """Revoke all keys of an account, and give it no new one until it is enabled. Its jobs go on."""
    with open_database().begin() as session:
        accounts.disable_user(session, name)
    click.echo(f"{one_line(name)} is disabled. `farm users enable` lets the account have keys again.")


@users.command()
@_name
def enable(name: str) -> None:
    """Let a disabled account have keys again; `farm users add` makes one."""
    with open_database().begin() as session:
        accounts.enable_user(session, name)
    click.echo(f"{one_line(name)} is enabled, without a key. `farm users add` makes one.")


@users.command()
@_name
@click.argument("weight", callback=_read_weight)
def weight(name: str, weight: float) -> None:
    """Set how much of the devices an account may have, relative to others: twice the WEIGHT is twice as much."""
    with open_database().begin() as session:
        accounts.set_user_weight(session, name, weight)
    click.echo(f"{one_line(name)} has the weight {weight:g}.")


@click.group()
def projects() -> None:
    """Manage projects and their shares of the devices."""


@projects.command("list")
@json_option
def list_projects(as_json: bool) -> None:
    """List the projects that jobs named, with their weights."""
    with open_database().begin() as session:
        found = list(accounts.all_projects(session))
    columns = {
        "NAME": lambda project: project.name,
        "WEIGHT": lambda project: "none of its own" if project.weight is None else f"{project.weight:g}",
        "AGE": lambda project: format_age(project.created_at),
    }
    print_rows(found, columns, as_json=as_json)


@projects.command("weight")
@_name
@click.argument("weight", callback=_read_weight_or_none)
def weigh_project(name: str, weight: float | None) -> None:
    """Give a project a part of the devices, relative to other such projects and to owners outside them.

    Without one a project is a label: its jobs share what their owners have. The WEIGHT `none` makes it one again.
    """
    with open_database().begin() as session:
        accounts.set_project_weight(session, name, weight)
    weighs = "no weight of its own" if weight is None else f"the weight {weight:g}"
    click.echo(f"Project {one_line(name)} has {weighs}.")


def _print_key(key: str) -> None:
    click.echo(key)
    click.echo(
        "Keep this key: it is not shown again. Use it as FARM_API_KEY, or as the password in a browser.", err=True
    )
