"""The same farm on servers that somebody else runs: Postgres and Redis over TCP, an S3-compatible store."""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from farm.embedded.machine import find_free_port
from farm.embedded.postgres import Postgres
from farm.embedded.redis import find_server
from tests.farms import RunningFarm, run_farm


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="farm-tcp-"))
    folder.chmod(0o711)
    port = find_free_port("127.0.0.1", 0)
    access = folder / "access.conf"
    access.write_text("local all farm trust\nhost all farm 127.0.0.1/32 trust\n")
    settings = {"listen_addresses": "127.0.0.1", "port": str(port), "hba_file": str(access)}
    server = Postgres(folder / "pg", folder / "run", settings=settings)
    server.start()
    yield f"postgresql://farm@127.0.0.1:{port}/farm"
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    port = find_free_port("127.0.0.1", 0)
    server = subprocess.Popen([find_server(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""])
    yield f"redis://127.0.0.1:{port}/0"
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def running(s3_endpoint: str, postgres_url: str, redis_url: str) -> Iterator[RunningFarm]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "farm")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "farm-secret")
        client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
        client.create_bucket(Bucket="farm")
        store_url = f"s3://farm/images?endpoint={s3_endpoint}&region=us-east-1"
        servers = {"database_url": postgres_url, "redis_url": redis_url, "store_url": store_url}
        with run_farm("cpu", **servers) as farm:
            yield farm


def test_images_go_to_the_bucket_and_are_linked_from_it(running: RunningFarm, s3_endpoint: str) -> None:
    job_id = running.submit(images_per_prompt=3)
    assert running.finish(job_id).images.succeeded == 3
    for image in running.client.images(job_id):
        assert image.url.startswith(f"{s3_endpoint}/farm/images/results/")
        assert hashlib.sha256(httpx.get(image.url).content).hexdigest() == image.sha256


def test_the_command_line_downloads_from_the_bucket(running: RunningFarm, tmp_path: Path) -> None:
    job_id = running.submit()
    running.finish(job_id)
    (image,) = running.client.images(job_id)
    assert running.client.download(image, tmp_path).stat().st_size == image.size_bytes


def test_no_server_of_our_own_is_started(running: RunningFarm) -> None:
    running.children(1)
    assert not any("postgres" in process.name() for process in running.processes())
