"""What a job is, where it is kept and how it changes hands: the library under portal, workers and command line.

Each package is a room for one noun; the order of the rooms, from those that may import all others to those that
import none, stands in `pyproject.toml` and is kept by a test: `cli`, `bench` / `embedded`, `upkeep` / `sheets`,
`client`, `accounts` / `intake` / `pictures` / `reports` / `queue` / `weights` / `store` / `db` / `prompts`,
`infotext` / `spec` / `formats`, `processes`, `network` / `config`, `logs`, `crashpoints`, `errors`. Nothing here
imports `web`, `workers`, Flask or torch.
"""

from importlib.metadata import version

__version__ = version("diffusion-farm")
