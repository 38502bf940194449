"""Many workers behind PgBouncer, which gives their transactions few sessions of Postgres, whichever is free."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import quote

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from farm.db import keylock
from farm.db.connection import Database, Role
from farm.db.locks import Lock
from farm.embedded.child import spawn
from farm.embedded.postgres import Postgres
from farm.errors import ConfigError
from farm.queue import leases
from farm.queue.workers import fleet
from tests.factories import LEASE_SECONDS, Scene, a_finished, claim, publish_all
from tests.waiting import wait_until

WORKERS = 20
SESSIONS = 3
PORT = 6432


@pytest.fixture(params=["", "ignore_startup_parameters = options"], ids=["refusing", "dropping"])
def pooled_url(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[str]:
    """Through PgBouncer, which refuses the options of connections, or drops them without a word."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    assert program, "PgBouncer is not installed. On Debian: apt-get install pgbouncer"
    folder = postgres.sockets
    file = folder / "pgbouncer.ini"
    file.write_text(
        f"[databases]\nfarm = host={folder} port=5432 dbname=farm user=farm\n[pgbouncer]\n"
        f"listen_port = {PORT}\nunix_socket_dir = {folder}\nauth_type = any\npool_mode = transaction\n"
        f"default_pool_size = {SESSIONS}\nmax_client_conn = 200\n{request.param}\n"
    )
    file.chmod(0o644)
    user = postgres._service_user
    if user is not None:
        let_connect(postgres, user.pw_name)
    process = spawn(
        [program, str(file)], log=folder / "pgbouncer.log", user=user, cwd=folder, death_signal=signal.SIGINT
    )
    wait_until((folder / f".s.PGSQL.{PORT}").exists, seconds=10)
    yield f"postgresql://farm@/farm?host={quote(str(folder), safe='')}&port={PORT}"
    process.send_signal(signal.SIGINT)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def let_connect(postgres: Postgres, user: str) -> None:
    """PgBouncer does not run as root, and nobody else may connect to the test server."""
    (postgres._cluster / "pg_ident.conf").write_text(f'farm "root" farm\nfarm "{user}" farm\n')
    with closing(Database(postgres.url, Role.TOOL)) as database, database.begin() as session:
        session.execute(text("SELECT pg_reload_conf()"))


def test_every_transaction_has_the_timeouts_of_its_role(pooled_url: str) -> None:
    with closing(Database(pooled_url, Role.WORKER)) as one, closing(Database(pooled_url, Role.KEEPER)) as other:
        for database in (one, other, one):
            limits = database.role.value
            with database.begin() as session:
                names = ("lock_timeout", "transaction_timeout", "timezone", "jit")
                found = [session.execute(text(f"SHOW {name}")).scalar_one() for name in names]
                assert found[:2] == [limits.lock, limits.transaction]
                assert found[2:] == ["UTC", "off"]


def test_a_statement_is_ended_at_its_timeout(pooled_url: str) -> None:
    with closing(Database(pooled_url, Role.WORKER)) as database, database.begin() as session:
        session.execute(text("SET LOCAL statement_timeout = '100ms'"))
        with pytest.raises(OperationalError, match="statement timeout"):
            session.execute(text("SELECT pg_sleep(5)"))


def test_workers_claim_renew_and_publish_through_few_sessions(scene: Scene, pooled_url: str) -> None:
    job_id = scene.submit(images_per_prompt=WORKERS * 12)
    workers = [scene.worker(f"cpu:{number}") for number in range(WORKERS)]

    def work(worker_id: int) -> int:
        done = 0
        with closing(Database(pooled_url, Role.WORKER)) as database:
            while batch := claim(database, worker_id, limit=4):
                with database.begin() as session:
                    fleet.beat(session, worker_id, "busy", None, lease_seconds=LEASE_SECONDS)
                    held = leases.still_held(batch.leases, leases.running(session, worker_id))
                done += len(publish_all(database, [a_finished(lease) for lease in held]))
        return done

    with ThreadPoolExecutor(WORKERS) as threads:
        assert sum(threads.map(work, workers)) == WORKERS * 12
    scene.fold()
    assert scene.counters() == scene.recount()
    assert scene.job(job_id).status == "succeeded"


def test_what_needs_a_session_of_its_own_says_so(pooled_url: str) -> None:
    with closing(Database(pooled_url, Role.KEEPER)) as database:
        with pytest.raises(ConfigError, match="PgBouncer"), database.alone(Lock.SWEEP):
            pass
        with pytest.raises(ConfigError, match="PgBouncer"), keylock.holding(database, "a key"):
            pass
