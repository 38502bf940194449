"""What a job is, where it is kept and how it changes hands."""

from importlib.metadata import version

__version__ = version("diffusion-farm")
