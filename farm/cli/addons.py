"""The commands for additions to checkpoints: `farm vaes`, `farm embeddings` and `farm loras`."""

import click

from farm.cli import adding
from farm.cli.console import json_option, open_database, print_rows
from farm.reports import weights
from farm.spec.families import FAMILIES
from farm.weights import addons
from farm.weights.addons import TITLES
from farm.weights.addrequest import AddRequest

_HELP = {
    "vae": "Add, list and remove VAEs, which take the place of a checkpoint's own.",
    "embedding": "Add, list and remove textual-inversion embeddings, which are words of a prompt.",
    "lora": "Add, list and remove LoRAs, which a prompt names as <lora:NAME:WEIGHT>.",
}


def _make_group(kind: addons.AddonKind) -> click.Group:
    group = click.Group(f"{kind}s", help=_HELP[kind])
    for make in (_make_add, _make_list, _make_remove):
        group.add_command(make(kind))
    return group


def _make_add(kind: addons.AddonKind) -> click.Command:
    @click.command("add", help=f"Add a {TITLES[kind]} to the store. SOURCE is as in `farm checkpoints add`.")
    @click.argument("source")
    @click.option("--name", help="Its name in prompts and jobs. Default: its file's name.")
    @click.option(
        "--family",
        type=click.Choice(list(FAMILIES)),
        help="The family it is made for, if the file does not show it.",
    )
    @click.option("--note", help="A short description.")
    def add(source: str, name: str | None, family: str | None, note: str | None) -> None:
        adding.add(AddRequest(kind, source, name=name, family=family, note=note))

    return add


def _make_list(kind: addons.AddonKind) -> click.Command:
    @click.command("list", help=f"List the registered {TITLES[kind]}s.")
    @json_option
    def list_addons(as_json: bool) -> None:
        with open_database().begin() as session:
            found = weights.addon_reports(addons.by_name(session, kind).values())
        print_rows(
            found,
            {
                **adding.COLUMNS,
                "WORDS": lambda addon: ", ".join(addon.trigger_words),
                "NOTE": lambda addon: addon.note or "",
            },
            as_json=as_json,
        )

    return list_addons


def _make_remove(kind: addons.AddonKind) -> click.Command:
    @click.command("remove", help=f"Take a {TITLES[kind]} out of use; accepted jobs keep rendering with it.")
    @click.argument("name")
    def remove(name: str) -> None:
        with open_database().begin() as session:
            addons.remove(session, kind, name)
        click.echo(f"Removed {name}.")

    return remove


vaes, embeddings, loras = (_make_group(kind) for kind in ("vae", "embedding", "lora"))
