"""The commands for checkpoints."""

from pathlib import Path

import click

from farm import config
from farm.cli import adding
from farm.cli.console import json_option, one_line, open_database, print_rows
from farm.reports import weights
from farm.reports.shapes import Report
from farm.spec.digests import shorten_digest
from farm.spec.families import FAMILIES
from farm.store.protocol import open_store
from farm.weights import blobs
from farm.weights import checkpoints as catalog
from farm.weights.addrequest import AddRequest
from farm.weights.folder import inspect_folder
from farm.weights.presets import PRESETS

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group()
def checkpoints() -> None:
    """Add, list and remove checkpoints."""


@checkpoints.command()
@click.argument("source")
@click.option("--name", help="Its name in jobs. Default: the preset's name, or its file's.")
@click.option("--family", type=click.Choice(list(FAMILIES)), help="If the weights leave it open: sd2 or sd2-v.")
@click.option("--tokenizer", metavar="DIR", type=_FOLDER, help="A folder with CLIP's vocabulary.")
@click.option("--vae", metavar="NAME|FILE", help="The VAE to go with it: a registered one, or a file.")
@click.option("--half", is_flag=True, help="From a hub: half precision, where it is offered.")
@click.option("--note", help="A short description.")
@click.option(
    "--in-place", is_flag=True, help="Leave a diffusers folder where it is; every worker must find it there."
)
def add(
    source: str,
    name: str | None,
    family: str | None,
    tokenizer: Path | None,
    vae: str | None,
    half: bool,
    note: str | None,
    in_place: bool,
) -> None:
    """Add a checkpoint to the store, from which every worker fetches it.

    SOURCE is the name of a preset (see `farm checkpoints presets`), a file or diffusers folder, an https://
    address, hf:owner/repo[@revision][:file], or civitai:ID[@version]. With another VAE it counts as another
    checkpoint, with another hash.
    """
    if in_place:
        if family or tokenizer or vae or half:
            raise click.UsageError("--in-place takes no option but --name and --note.")
        return _add_in_place(Path(source), name, note)
    return adding.add(AddRequest("checkpoint", source, name, family, tokenizer, vae, half, note))


def _add_in_place(folder: Path, name: str | None, note: str | None) -> None:
    found = inspect_folder(folder)
    name = AddRequest("checkpoint", str(folder)).check_name(name or found.path.name)
    with open_database().begin() as session:
        catalog.add(session, name, found, note)
    click.echo(f"Added checkpoint {one_line(name)}: {found.family}, hash {shorten_digest(found.sha256)}")


@checkpoints.command("list")
@json_option
def list_checkpoints(as_json: bool) -> None:
    """List the registered checkpoints."""
    with open_database().begin() as session:
        found = weights.checkpoint_reports(catalog.by_name(session).values())
    print_rows(found, {**adding.COLUMNS, "NOTE": lambda checkpoint: checkpoint.note or ""}, as_json=as_json)


class PresetReport(Report):
    """One preset, as it is listed."""

    name: str
    kind: str
    family: str
    title: str
    source: str
    licence: str
    restrictions: str
    description: str
    homepage: str | None


@checkpoints.command()
@json_option
def presets(as_json: bool) -> None:
    """List the presets: checkpoints and VAEs that can be added by name."""
    found = [
        PresetReport.model_validate(
            {**vars(preset), "licence": preset.licence.name, "restrictions": preset.licence.note}
        )
        for preset in PRESETS.values()
    ]
    print_rows(
        found,
        {
            "NAME": lambda preset: preset.name,
            "KIND": lambda preset: preset.kind,
            "FAMILY": lambda preset: preset.family,
            "LICENCE": lambda preset: preset.licence,
            "SOURCE": lambda preset: preset.source,
        },
        as_json=as_json,
    )


@checkpoints.command()
@click.argument("name")
def remove(name: str) -> None:
    """Take a checkpoint out of use; its files stay, and accepted jobs keep rendering with it."""
    with open_database().begin() as session:
        catalog.remove(session, name)
    click.echo(f"Removed {name}.")


@checkpoints.command()
def prune() -> None:
    """Delete from the store the files of removed checkpoints, VAEs, embeddings and LoRAs.

    Files that queued or running images need are kept. Failed images that need deleted weights cannot be retried.
    """
    deleted = blobs.prune(open_database(), open_store(config.load()))
    click.echo(f"Deleted {deleted} files." if deleted != 1 else "Deleted 1 file.")
