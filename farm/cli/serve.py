"""The commands that run a part of the farm that is a program of its own: web and worker."""

import os
import sys
from collections.abc import Mapping
from typing import NoReturn

import click

from farm import config
from farm.cli.extras import require_worker_packages
from farm.processes import programs


@click.command()
@click.option("--host", help="Address to bind; any but loopback needs an account.  [FARM_HOST]")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to bind.  [FARM_PORT]")
def web(host: str | None, port: int | None) -> None:
    """Run the portal and its API."""
    given = {"FARM_HOST": host, "FARM_PORT": port and str(port)}
    config.load()
    exec_module("web", env={name: value for name, value in given.items() if value})


@click.command()
@click.option("--devices", default="all", show_default=True, help="all, or a list of: index, UUID, cpu, cpu:N.")
@click.option("--pool", help="The pool to serve.  [FARM_POOL]")
def worker(devices: str, pool: str | None) -> None:
    """Run workers, one on each device."""
    require_worker_packages()
    config.load()
    exec_module("workers", "--devices", devices, *(["--pool", pool] if pool else []))


def exec_module(module: str, *arguments: str, env: Mapping[str, str] | None = None) -> NoReturn:
    """Replace this process by the module's: the portal and the workers are programs of their own."""
    sys.stdout.flush()
    command = programs.build_command(module, *arguments)
    os.execve(command[0], command, programs.inherit_environment(env))
