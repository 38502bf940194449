"""What a job is, where it is kept and how it changes hands: the library under portal, workers and command line.

Each package is a room for one noun. The rooms, from those that may import all others down to those that import
none:

    cli, bench                      commands, and measurements
    embedded, upkeep                a whole farm on one machine; the housekeeping
    sheets, client, accounts        grids; the portal's API as calls; users and keys
    intake                          from a request to the rows of a job
    pictures                        uploads and masks
    reports                         what is going on
    queue                           who gets what, and how it ends
    weights                         checkpoints, VAEs, embeddings, LoRAs
    store, db                       artifacts; Postgres
    infotext, prompts               parameters texts; the prompt language
    spec                            what an image is
    formats                         tables, YAML and JSON as people write them
    logs, config, network, processes, crashpoints, imports, errors

A contract in `pyproject.toml` keeps that order. Nothing here imports `web`, `workers`, Flask or torch.
"""

from importlib.metadata import version

__version__ = version("diffusion-farm")
