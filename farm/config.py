"""Settings: the one place that reads the environment.

Every setting is an environment variable `FARM_<NAME>`. What is not set falls back to the farm that
`farm up` has running in the data folder, if one runs there, else to the default shown here.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from farm.errors import ConfigError
from farm.network.addresses import LOOPBACK_HOSTS, DatabaseUrl, HubUrl, Networks, RedisUrl, StoreUrl
from farm.network.runningfarm import ADDRESSES, PARTS, running_farm

DEFAULT_PORT = 8420


def default_data_dir() -> Path:
    """/var/lib for root, since PostgreSQL then runs as another user who cannot enter root's home.

    Raises ConfigError for a user without a home.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/diffusion-farm")
    try:
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    except RuntimeError:
        raise ConfigError(
            "FARM_DATA_DIR is not set, and this user has no home folder to take one in. Set it to a folder that "
            "the user may write in."
        ) from None
    return Path(base) / "diffusion-farm"


def _absolute(path: Path) -> Path:
    """The folder as it is meant from here: the farm's programs run elsewhere. `~` is a home, as in a shell."""
    try:
        expanded = path.expanduser()
        return expanded if expanded.is_absolute() else Path.cwd() / expanded
    except RuntimeError:
        raise ValueError("names the home of a user who has none here") from None
    except FileNotFoundError:
        raise ValueError("is a path from the current folder, which is gone") from None


Folder = Annotated[Path, AfterValidator(_absolute)]


def _token_of(*names: str) -> Any:
    """A token, under the farm's own name or the usual one; a header can hold no more than printable ASCII."""
    field: Any = Field(None, validation_alias=AliasChoices(*names))
    return field


def _printable(token: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]+", token.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces")
    return token


Token = Annotated[SecretStr, AfterValidator(_printable)]


BATCH_SIZES = (1, 2, 4, 8, 16)
"""The sizes that pipeline calls may have: few, since the size of a batch enters its pixels."""


def _one_of_the_batch_sizes(size: int) -> int:
    if size not in BATCH_SIZES:
        raise ValueError(f"must be one of {', '.join(map(str, BATCH_SIZES))}")
    return size


BatchSize = Annotated[int, AfterValidator(_one_of_the_batch_sizes)]


LONGEST_LEASE_SECONDS = 3600
Days = Annotated[int, Field(ge=0, le=36500)]
"""How long something is kept; 0 is for ever."""


class Settings(BaseSettings):
    """All settings of one process, checked and frozen."""

    model_config = SettingsConfigDict(env_prefix="FARM_", env_ignore_empty=True, frozen=True, extra="ignore")

    data_dir: Folder = Field(default_factory=default_data_dir)
    database_url: DatabaseUrl | None = None
    redis_url: RedisUrl | None = None
    store_url: StoreUrl | None = None
    url: str | None = None
    api_key: str | None = None

    host: str = "127.0.0.1"
    port: int = Field(DEFAULT_PORT, ge=0, le=65535)
    web_threads: int = Field(16, ge=1, le=512)
    web_connections: int = Field(256, ge=4, le=100_000)
    request_seconds: float = Field(20.0, ge=0.1, le=3600)
    trusted_proxies: Networks = ""
    base_path: str = Field("", pattern=r"^(/[A-Za-z0-9._~-]+)*/?$")
    local_users: str = Field("", pattern=r"^[^,\s]*(\s*,\s*[^,\s]+)*$")
    await_checkpoint: bool = False
    worker_port: int | None = Field(None, ge=1, le=65535)
    secret_key: str | None = Field(None, min_length=16)
    link_seconds: int = Field(3600, ge=60, le=7 * 86400)

    pool: str = Field("default", pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    lease_seconds: float = Field(20.0, ge=1, le=LONGEST_LEASE_SECONDS)
    poll_seconds: float = Field(2.0, ge=0.1, le=60)
    keeper_seconds: float = Field(1.0, ge=0.1, le=60)
    keep_events_days: Days = 30
    keep_attempts_days: Days = 30
    keep_jobs_days: Days = 0
    keep_uploads_hours: int = Field(24, ge=0, le=36500 * 24)
    sweep_seconds: float = Field(3600.0, ge=1, le=7 * 86400)
    grace_seconds: float = Field(10.0, ge=0, le=3600)
    reload_share: float = Field(0.03, ge=0.001, le=0.5)
    max_attempts: int = Field(3, ge=1, le=20)
    max_batch: BatchSize = 4
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    spool_dir: Folder | None = None
    spool_bytes: int = Field(2 * 2**30, ge=2**20)
    cache_dir: Folder | None = None
    cache_bytes: int = Field(50 * 2**30, ge=2**20)
    resident_bytes: int = Field(0, ge=0)
    stall_seconds: float = Field(120.0, ge=1, le=86400)
    crash_points: Folder | None = None

    hf_endpoint: HubUrl = "https://huggingface.co"
    hf_token: Token | None = _token_of("FARM_HF_TOKEN", "HF_TOKEN", "hf_token")
    civitai_endpoint: HubUrl = "https://civitai.com"
    civitai_token: Token | None = _token_of("FARM_CIVITAI_TOKEN", "CIVITAI_TOKEN", "civitai_token")
    clip_repo: str = Field("openai/clip-vit-large-patch14", pattern=r"^[\w.-]+/[\w.-]+(@[\w./-]+)?$")
    download_dir: Folder | None = None

    max_images_per_job: int = Field(100_000, ge=1, le=1_000_000)
    max_side: int = Field(2048, ge=64, le=8192)
    max_upload_bytes: int = Field(32 * 2**20, ge=2**10, le=2**30)
    # Pillow takes nothing larger.
    max_upload_pixels: int = Field(64 * 10**6, ge=64 * 64, le=178_000_000)
    fetch_urls: bool = False
    log_format: Literal["console", "json"] = "console"

    @property
    def asks_for_keys(self) -> bool:
        """Whether nobody is served without a key: others than the programs of this machine reach the portal."""
        return bool(self.trusted_proxies) or self.host not in LOOPBACK_HOSTS

    @property
    def heartbeat_seconds(self) -> float:
        """A quarter of the lease, so that three heartbeats may be lost, but at most 3 s: a cancel rides on it."""
        return min(3.0, self.lease_seconds / 4)

    @property
    def spool_folder(self) -> Path:
        """Where workers keep rendered images; each farm has a part of its own, by its database."""
        farm = hashlib.sha256(self.required_database_url.encode()).hexdigest()[:12]
        return (self.spool_dir or self.data_dir / "spool") / farm

    @property
    def cache_folder(self) -> Path:
        """Where the workers of this machine keep weights that came from the store."""
        return self.cache_dir or self.data_dir / "cache"

    @property
    def download_folder(self) -> Path:
        """Where weights are kept while they come from a hub, so that a broken download can go on."""
        return self.download_dir or self.data_dir / "downloads"

    @property
    def required_database_url(self) -> str:
        return self._required("database_url")

    @property
    def required_redis_url(self) -> str:
        return self._required("redis_url")

    @property
    def required_store_url(self) -> str:
        return self._required("store_url")

    def _required(self, name: str) -> str:
        value: str | None = getattr(self, name)
        if value is None:
            raise ConfigError(
                f"FARM_{name.upper()} is not set and no farm runs in {self.data_dir}. "
                "Start one with `farm up`, or set the variable."
            )
        return value


def load(**overrides: Any) -> Settings:
    """Read the settings: explicit overrides, then the environment, then the farm running in the data folder.

    Raises ConfigError, naming each variable that is wrong.
    """
    given = load_given(**overrides)
    # The parts of two farms are never mixed: a URL that was given means that all of them must be.
    is_other_farm = any(getattr(given, name) for name in PARTS)
    wanted = ("url",) if is_other_farm else ADDRESSES
    running = running_farm(given.data_dir)
    found = {name: running[name] for name in wanted if name in running and getattr(given, name) is None}
    return load_given(**{**found, **overrides}) if found else given


def load_given(**overrides: Any) -> Settings:
    """As `load`, but without looking for a running farm: for the command that starts one."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        name = "FARM_" + "_".join(str(part) for part in problem["loc"][:1]).upper().removeprefix("FARM_")
        message = problem["msg"].removeprefix("Value error, ").partition(", unable to parse")[0]
        if name.endswith("_BYTES") and problem["type"] == "int_parsing":
            message = "must be a whole number of bytes without a unit, as 8589934592 for 8 GiB"
        # These may hold a password: name it, never print it.
        shown = "" if name.endswith(("_URL", "_KEY", "_TOKEN", "_ENDPOINT")) else f"={problem['input']!r}"
        lines.append(f"{name}{shown}: {message}")
    return "\n".join(lines)
