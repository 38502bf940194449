"""Which optional parts of the package are installed."""

from importlib.util import find_spec

from farm.errors import ConfigError


def require_worker_packages() -> None:
    """Raise ConfigError unless what a worker needs is installed: the portal's image has none of it."""
    missing = [name for name in ("torch", "diffusers", "transformers") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"Workers need {', '.join(missing)}. Install `diffusion-farm[worker]`.")
