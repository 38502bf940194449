"""The private servers: they start, keep their data, and leave nothing behind."""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from farm.embedded.child import as_user
from farm.embedded.postgres import Postgres, find_service_user
from farm.embedded.redis import Redis, find_server, read_version
from farm.errors import ConfigError


@pytest.fixture
def folder(server_folder: Path) -> Path:
    """A short path that Postgres' own user may pass."""
    folder = Path(tempfile.mkdtemp(dir=server_folder))
    folder.chmod(0o711)
    return folder


@pytest.fixture
def own_postgres(folder: Path) -> Iterator[Postgres]:
    server = Postgres(folder / "pg", folder / "run", settings={"fsync": "off"})
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_redis(folder: Path) -> Iterator[Redis]:
    server = Redis(folder / "redis", folder / "run")
    server.start()
    yield server
    server.stop()


def processes_of(folder: Path) -> list[psutil.Process]:
    """The running processes whose command line names the folder."""
    found = psutil.process_iter(["cmdline", "status"])
    return [
        process
        for process in found
        if str(folder) in " ".join(process.info["cmdline"] or []) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


class TestPostgres:
    def test_data_survives_a_restart(self, own_postgres: Postgres) -> None:
        with psycopg.connect(own_postgres.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        own_postgres.stop()
        own_postgres.start()
        with psycopg.connect(own_postgres.url) as connection:
            assert connection.execute("SELECT number FROM kept").fetchone() == (7,)

    def test_a_stopped_server_leaves_no_process(self, own_postgres: Postgres, folder: Path) -> None:
        assert processes_of(folder)
        own_postgres.stop()
        assert processes_of(folder) == []

    def test_the_folder_of_postgres_is_private(self, own_postgres: Postgres) -> None:
        assert stat.S_IMODE(own_postgres.folder.stat().st_mode) == 0o700

    def test_postgres_listens_on_its_socket_alone(self, own_postgres: Postgres) -> None:
        with psycopg.connect(own_postgres.url) as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)

    def test_a_pid_file_that_names_another_program_is_tolerated(self, own_postgres: Postgres) -> None:
        own_postgres.stop()
        pid_file = next(own_postgres.folder.glob("cluster-*")) / "postmaster.pid"
        with subprocess.Popen(["sleep", "60"], **as_user(find_service_user())) as another:
            pid_file.write_text(f"{another.pid}\n{pid_file.parent}\n")
            own_postgres.start()
            psycopg.connect(own_postgres.url).close()
            another.kill()

    def test_committed_data_survives_a_kill(self, own_postgres: Postgres) -> None:
        with psycopg.connect(own_postgres.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        assert own_postgres.process is not None
        own_postgres.process.kill()
        own_postgres.process.wait()
        own_postgres.start()
        with psycopg.connect(own_postgres.url) as connection:
            assert connection.execute("SELECT number FROM kept").fetchone() == (7,)

    def test_a_server_that_does_not_start_shows_the_end_of_its_log(self, folder: Path) -> None:
        server = Postgres(folder / "pg", folder / "run", settings={"shared_buffers": "no number"})
        with pytest.raises(ConfigError, match=r"PostgreSQL did not start:\n.*shared_buffers"):
            server.start()
        assert processes_of(folder) == []

    def test_postgres_ends_with_the_process_that_started_it(self, folder: Path) -> None:
        program = (
            "import sys; from pathlib import Path; from farm.embedded.postgres import Postgres; "
            "folder = Path(sys.argv[1]); Postgres(folder / 'pg', folder / 'run').start()"
        )
        subprocess.run([sys.executable, "-c", program, str(folder)], check=True)
        _, alive = psutil.wait_procs(processes_of(folder / "pg"), timeout=10)
        assert alive == []

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root hands its server to another user")
    def test_a_folder_that_the_server_cannot_enter_is_named_to_root(self, folder: Path) -> None:
        private = folder / "private"
        private.mkdir(mode=0o700)
        server = Postgres(private / "data" / "pg", private / "run")
        with pytest.raises(ConfigError) as refusal:
            server.start()
        assert f"{private}/data/pg cannot be used. PostgreSQL does not run as root" in str(refusal.value)
        assert f"who cannot enter {private}." in str(refusal.value)


class TestRedis:
    def test_data_survives_a_restart(self, own_redis: Redis) -> None:
        with redis.Redis.from_url(own_redis.url) as client:
            client.set("kept", "7")
        own_redis.stop()
        own_redis.start()
        with redis.Redis.from_url(own_redis.url) as client:
            assert client.get("kept") == b"7"

    def test_a_stopped_server_leaves_no_process(self, own_redis: Redis) -> None:
        assert own_redis.process is not None
        pid = own_redis.process.pid
        own_redis.stop()
        assert not psutil.pid_exists(pid)

    def test_the_folder_and_socket_of_redis_are_private(self, own_redis: Redis, folder: Path) -> None:
        assert stat.S_IMODE(own_redis.folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "run" / "redis.sock").stat().st_mode) == 0o700

    def test_files_left_by_other_servers_are_removed_and_nothing_else(self, own_redis: Redis) -> None:
        with redis.Redis.from_url(own_redis.url) as client:
            client.set("kept", "7")
        own_redis.stop()
        before = {place.name for place in own_redis.folder.iterdir()}
        for name in ("appendonlydir", "redis-server-1", "valkey-server-1", "notes"):
            (own_redis.folder / name).mkdir()
            (own_redis.folder / name / "data").write_text("old")
        for name in ("appendonly.aof", "dump.rdb", "temp-rewriteaof-7.aof", "mine.txt"):
            (own_redis.folder / name).write_text("old")
        own_redis.start()
        assert {place.name for place in own_redis.folder.iterdir()} == {*before, "notes", "mine.txt"}
        with redis.Redis.from_url(own_redis.url) as client:
            assert client.get("kept") == b"7"

    def test_a_server_that_does_not_start_shows_the_end_of_its_log(self, folder: Path) -> None:
        kept = folder / "redis" / f"{find_server().name}-{read_version(find_server())[0]}"
        kept.mkdir(parents=True)
        # Where Redis 7 keeps its log, and where those before do.
        (kept / "appendonlydir").write_text("in the way")
        with pytest.raises(ConfigError, match="Redis did not start:\n"):
            Redis(folder / "redis", folder / "run").start()


def test_stopping_a_server_that_never_started_is_harmless(folder: Path) -> None:
    Postgres(folder / "pg", folder / "run").stop()
    Redis(folder / "redis", folder / "run").stop()
