"""The servers that `farm up` starts answer to its owner alone."""

import os
import pwd
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from farm.embedded.postgres import Postgres, find_service_user


@pytest.fixture(scope="module")
def server(server_folder: Path) -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(dir=server_folder))
    folder.chmod(0o711)
    server = Postgres(folder / "pg", folder / "run", settings={"fsync": "off"})
    server.start()
    yield server
    server.stop()


def connect(url: str) -> None:
    psycopg.connect(url).close()


def works_for(user: pwd.struct_passwd | None, act: Callable[[], None]) -> bool:
    """Whether it works in a process of that user (where we may become that one), who is in no group of ours."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if user is not None:
                os.setgroups([])
                os.setgid(user.pw_gid)
                os.setuid(user.pw_uid)
            act()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def test_the_owner_may_connect_to_postgres(server: Postgres) -> None:
    assert works_for(None, lambda: connect(server.url))


def test_a_connection_in_another_role_is_refused(server: Postgres) -> None:
    assert not works_for(None, lambda: connect(server.url.replace("farm@", "postgres@")))


def test_the_user_whom_postgres_runs_as_may_not_connect(server: Postgres) -> None:
    """Run by a user who is not root, that is the owner, who may."""
    assert works_for(find_service_user(), lambda: connect(server.url)) == (find_service_user() is None)


def test_a_cluster_of_an_earlier_release_is_closed_too(server: Postgres) -> None:
    server.stop()
    access = next(server.folder.glob("cluster-*")) / "pg_hba.conf"
    access.write_text("local all all trust\n")
    server.start()
    assert works_for(find_service_user(), lambda: connect(server.url)) == (find_service_user() is None)
