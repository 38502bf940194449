"""One suite for every store, and what is particular to each."""

import errno
import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPMessage
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import boto3
import pytest
from itsdangerous import Signer
from moto.server import ThreadedMotoServer

from farm.config import Settings
from farm.errors import ConfigError, ObjectMissing, StoreError, StoreOutage, StoreRefused
from farm.store.disk import DiskStore
from farm.store.links import BadLink, LinkSigner
from farm.store.protocol import Store, open_store
from farm.store.s3 import S3Store
from tests.chaos.objects import ObjectServer, Trouble
from tests.fakes import MemoryStore

IMAGE = b"\x89PNG not really \x00\xff"
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3 server on a port of its own."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with urllib.request.urlopen(urllib.request.Request(f"{s3_endpoint}/moto-api/reset", method="POST")):
        boto3.client("s3", endpoint_url=s3_endpoint).create_bucket(Bucket="farm")
    return f"s3://farm/images?endpoint={s3_endpoint}"


@pytest.fixture
def disk_store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "store", LinkSigner("a secret key for tests only"))


@pytest.fixture
def s3_store(bucket: str) -> S3Store:
    return S3Store.of_url(bucket)


@pytest.fixture
def memory_store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(params=["disk_store", "s3_store", "memory_store"])
def any_store(request: pytest.FixtureRequest) -> Store:
    store: Store = request.getfixturevalue(request.param)
    store.check()
    return store


class TestEveryStore:
    def test_an_object_that_was_put_is_read_back(self, any_store: Store) -> None:
        any_store.put("results/7/12-1.png", IMAGE, "image/png")
        assert any_store.get("results/7/12-1.png") == IMAGE

    def test_putting_an_object_again_replaces_it(self, any_store: Store) -> None:
        any_store.put("a/1.png", b"old", "image/png")
        any_store.put("a/1.png", b"new", "image/png")
        assert any_store.get("a/1.png") == b"new"

    def test_an_unknown_object_is_missing(self, any_store: Store) -> None:
        with pytest.raises(ObjectMissing):
            any_store.get("a/1.png")

    def test_a_deleted_object_is_missing(self, any_store: Store) -> None:
        any_store.put("a/1.png", IMAGE, "image/png")
        any_store.delete("a/1.png")
        with pytest.raises(ObjectMissing):
            any_store.get("a/1.png")

    def test_deleting_a_missing_object_is_no_error(self, any_store: Store) -> None:
        any_store.delete("a/1.png")

    def test_keys_are_listed_by_prefix(self, any_store: Store) -> None:
        for key in ("b/2.png", "a/10.png", "a/1.png"):
            any_store.put(key, IMAGE, "image/png")
        assert sorted(any_store.keys()) == ["a/1.png", "a/10.png", "b/2.png"]
        assert sorted(any_store.keys("a/1")) == ["a/1.png", "a/10.png"]
        assert sorted(any_store.keys("a")) == ["a/1.png", "a/10.png"]

    def test_an_empty_store_has_no_keys(self, any_store: Store) -> None:
        assert sorted(any_store.keys()) == []

    @pytest.mark.parametrize("key", ["a b/ü+&=?#%.png", "results/…/1.png"])
    def test_a_key_may_hold_any_character(self, any_store: Store, key: str) -> None:
        any_store.put(key, IMAGE, "image/png")
        assert any_store.get(key) == IMAGE
        assert sorted(any_store.keys()) == [key]

    def test_keys_are_listed_lazily(self, any_store: Store) -> None:
        any_store.put("a/1.png", IMAGE, "image/png")
        keys = any_store.keys()
        any_store.put("a/2.png", IMAGE, "image/png")
        assert sorted(keys) == ["a/1.png", "a/2.png"]

    def test_a_complete_object_is_not_cleared_as_a_leftover(self, any_store: Store) -> None:
        any_store.put("a/1.png", IMAGE, "image/png")
        assert any_store.clear_leftovers(older_than_seconds=-1) == 0
        assert list(any_store.keys()) == ["a/1.png"]

    def test_an_empty_object_is_kept(self, any_store: Store) -> None:
        any_store.put("empty", b"", "text/plain")
        assert any_store.get("empty") == b""

    def test_a_file_that_was_put_is_fetched(self, any_store: Store, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(IMAGE)
        any_store.put_file("weights/1", tmp_path / "a", "application/octet-stream")
        any_store.fetch_file("weights/1", tmp_path / "new" / "b")
        assert (tmp_path / "new" / "b").read_bytes() == any_store.get("weights/1") == IMAGE

    def test_a_file_of_many_pieces_is_whole(self, any_store: Store, tmp_path: Path) -> None:
        content = os.urandom(20 * 2**20)
        (tmp_path / "a").write_bytes(content)
        any_store.put_file("weights/1", tmp_path / "a", "application/octet-stream")
        any_store.fetch_file("weights/1", tmp_path / "b")
        assert (tmp_path / "b").read_bytes() == content

    def test_a_fetched_file_replaces_an_older_one(self, any_store: Store, tmp_path: Path) -> None:
        any_store.put("a", IMAGE, "image/png")
        (tmp_path / "a").write_bytes(b"old and longer than the new one")
        any_store.fetch_file("a", tmp_path / "a")
        assert (tmp_path / "a").read_bytes() == IMAGE

    def test_a_missing_object_is_not_fetched(self, any_store: Store, tmp_path: Path) -> None:
        with pytest.raises(ObjectMissing):
            any_store.fetch_file("a", tmp_path / "a")
        assert list(tmp_path.glob("a*")) == []

    def test_a_missing_file_is_not_put(self, any_store: Store, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="Could not write a: No such file"):
            any_store.put_file("a", tmp_path / "a", "image/png")
        assert not any_store.exists("a")

    def test_fetching_to_an_impossible_path_is_a_store_error(self, any_store: Store, tmp_path: Path) -> None:
        any_store.put("a", IMAGE, "image/png")
        (tmp_path / "file").touch()
        with pytest.raises(StoreError, match="Could not read a: "):
            any_store.fetch_file("a", tmp_path / "file" / "a")

    def test_only_objects_that_were_put_exist(self, any_store: Store) -> None:
        any_store.put("a/1.png", IMAGE, "image/png")
        assert any_store.exists("a/1.png")
        assert not any_store.exists("a/2.png")
        assert not any_store.exists("a")


class TestDisk:
    def test_a_file_on_the_same_disk_is_not_copied(self, disk_store: DiskStore, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(IMAGE)
        disk_store.put_file("weights/1", tmp_path / "a", "application/octet-stream")
        disk_store.fetch_file("weights/1", tmp_path / "b")
        assert (tmp_path / "a").samefile(tmp_path / "b")

    def test_a_file_on_another_disk_is_copied(
        self, disk_store: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "link", refuse_to_link)
        (tmp_path / "a").write_bytes(IMAGE)
        disk_store.put_file("weights/1", tmp_path / "a", "application/octet-stream")
        assert disk_store.get("weights/1") == IMAGE
        assert list((tmp_path / "store").rglob(".part-*")) == []

    def test_a_put_leaves_one_file_and_nothing_else(self, disk_store: DiskStore, tmp_path: Path) -> None:
        disk_store.put("a/1.png", IMAGE, "image/png")
        assert [path.name for path in (tmp_path / "store").rglob("*") if path.is_file()] == ["1.png"]

    def test_a_put_that_fails_leaves_nothing(self, disk_store: DiskStore, tmp_path: Path) -> None:
        (tmp_path / "store" / "a" / "1.png" / "in the way").mkdir(parents=True)
        with pytest.raises(StoreError, match=r"Could not write a/1\.png: Is a directory"):
            disk_store.put("a/1.png", IMAGE, "image/png")
        assert sorted(disk_store.keys()) == []
        assert list((tmp_path / "store").rglob(".part-*")) == []

    def test_a_file_that_a_crash_left_half_written_is_not_listed(
        self, disk_store: DiskStore, tmp_path: Path
    ) -> None:
        disk_store.put("a/1.png", IMAGE, "image/png")
        (tmp_path / "store" / "a" / ".part-crashed").write_bytes(b"\x89PN")
        assert sorted(disk_store.keys()) == ["a/1.png"]

    def test_a_file_that_a_crash_left_half_written_is_cleared_once_it_is_old(
        self, disk_store: DiskStore, tmp_path: Path
    ) -> None:
        disk_store.put("a/1.png", IMAGE, "image/png")
        partial = tmp_path / "store" / "a" / ".part-crashed"
        partial.write_bytes(b"\x89PN")
        assert disk_store.clear_leftovers(older_than_seconds=60) == 0
        os.utime(partial, (0, 0))
        assert disk_store.clear_leftovers(older_than_seconds=60) == 1
        assert not partial.exists()

    def test_folders_that_are_long_empty_are_removed(self, disk_store: DiskStore, tmp_path: Path) -> None:
        for key in ("a/1.png", "b/1.png", "c/1.png"):
            disk_store.put(key, IMAGE, "image/png")
        disk_store.delete("a/1.png")
        disk_store.delete("b/1.png")
        for folder in ("a", "c"):
            os.utime(tmp_path / "store" / folder, (0, 0))
        disk_store.clear_leftovers(older_than_seconds=60)
        assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["b", "c"]

    def test_a_folder_that_cannot_be_read_is_a_store_error(
        self, disk_store: DiskStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(StoreError, match="Could not list the folder: Permission denied"):
            list(disk_store.keys())

    @pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN])
    def test_a_share_that_fails_is_an_outage_and_nothing_is_missing(
        self, disk_store: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        disk_store.put("a/1.png", IMAGE, "image/png")

        def fail(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        for name in ("open", "stat"):
            monkeypatch.setattr(Path, name, fail)
        for read in (disk_store.get, disk_store.exists, lambda key: disk_store.fetch_file(key, tmp_path / "b")):
            with pytest.raises(StoreOutage):
                read("a/1.png")

    def test_a_store_whose_folder_is_gone_is_an_outage(self, disk_store: DiskStore, tmp_path: Path) -> None:
        for read in (disk_store.get, lambda key: disk_store.fetch_file(key, tmp_path / "b")):
            with pytest.raises(StoreOutage, match="there is no folder"):
                read("a/1.png")

    def test_a_folder_without_permission_to_read_is_a_refusal(
        self, disk_store: DiskStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disk_store.put("a/1.png", IMAGE, "image/png")
        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(StoreRefused, match="Permission denied"):
            disk_store.get("a/1.png")

    @pytest.mark.parametrize("key", ["../secret.key", "a/../../secret.key", "/etc/hostname", ""])
    def test_a_key_that_leaves_the_folder_does_not_exist(
        self, disk_store: DiskStore, tmp_path: Path, key: str
    ) -> None:
        (tmp_path / "secret.key").write_text("secret")
        with pytest.raises(ObjectMissing):
            disk_store.get(key)
        with pytest.raises(ObjectMissing):
            disk_store.put(key, IMAGE, "image/png")
        with pytest.raises(ObjectMissing):
            disk_store.delete(key)
        assert (tmp_path / "secret.key").read_text() == "secret"

    def test_a_symbolic_link_does_not_lead_out_of_the_folder(self, disk_store: DiskStore, tmp_path: Path) -> None:
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / "out").symlink_to("/etc")
        with pytest.raises(ObjectMissing):
            disk_store.get("out/hostname")

    def test_a_store_may_lie_behind_a_symbolic_link(self, disk_store: DiskStore, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "store").symlink_to(tmp_path / "elsewhere")
        disk_store.put("a/1.png", IMAGE, "image/png")
        assert list(disk_store.keys()) == ["a/1.png"]

    def test_a_folder_is_no_object(self, disk_store: DiskStore) -> None:
        disk_store.put("a/1.png", IMAGE, "image/png")
        with pytest.raises(StoreError, match="Could not read a: Is a directory"):
            disk_store.get("a")
        with pytest.raises(StoreError, match="Could not delete a: "):
            disk_store.delete("a")

    def test_a_key_that_no_file_can_have_is_a_store_error(self, disk_store: DiskStore) -> None:
        with pytest.raises(StoreError):
            disk_store.get("a\x00b")
        with pytest.raises(StoreError):
            disk_store.get("a" * 300)

    def test_a_store_whose_folder_is_a_file_cannot_be_used(self, disk_store: DiskStore, tmp_path: Path) -> None:
        (tmp_path / "store").write_text("in the way")
        with pytest.raises(StoreError, match="Cannot use the folder"):
            disk_store.check()
        with pytest.raises(StoreError, match="Could not write"):
            disk_store.put("a/1.png", IMAGE, "image/png")


def refuse(path: object, *_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied", str(path))


def refuse_to_link(source: Path, target: Path) -> None:
    raise OSError(errno.EXDEV, "Invalid cross-device link", str(source))


class TestSignedLinks:
    signer = LinkSigner("a secret key for tests only")

    def link(self, key: str = "a/1.png", **options: str) -> tuple[str, dict[str, str]]:
        """The key and the query of a fresh link, as the portal sees them."""
        parts = urlsplit(self.signer.sign(key, seconds=60, **options))
        return unquote(parts.path.removeprefix("/files/")), dict(parse_qsl(parts.query))

    @pytest.mark.parametrize("key", ["a/1.png", "a b/ü+&=?#%.png"])
    def test_a_fresh_link_is_good(self, key: str) -> None:
        found, query = self.link(key, filename="fox & hound.png")
        assert found == key
        self.signer.check(found, query)

    @pytest.mark.parametrize("change", [{"expires": "99999999999"}, {"filename": "virus.exe"}, {"signature": "x"}])
    def test_a_link_that_was_tampered_with_is_bad(self, change: dict[str, str]) -> None:
        key, query = self.link(filename="fox.png")
        with pytest.raises(BadLink, match="not valid"):
            self.signer.check(key, {**query, **change})

    @pytest.mark.parametrize("missing", ["expires", "filename", "signature"])
    def test_a_link_that_lacks_a_part_is_bad(self, missing: str) -> None:
        key, query = self.link(filename="fox.png")
        del query[missing]
        with pytest.raises(BadLink):
            self.signer.check(key, query)

    def test_a_link_is_good_for_its_own_object_only(self) -> None:
        _, query = self.link("a/1.png")
        with pytest.raises(BadLink):
            self.signer.check("a/2.png", query)

    def test_a_link_signed_with_another_key_is_bad(self) -> None:
        key, query = self.link()
        with pytest.raises(BadLink):
            LinkSigner("another secret key for tests").check(key, query)

    def test_a_link_of_the_release_before_is_good_whatever_the_library_chooses_by_now(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Signer, "default_digest_method", staticmethod(hashlib.sha512))
        monkeypatch.setattr(Signer, "default_key_derivation", "hmac")
        query = {"expires": "9999999600", "filename": "ü.png", "signature": "jhKrgGWDYh0oIwGXGu9q-ZaszgI"}
        LinkSigner("a secret key for tests only").check("a/1.png", query)

    @pytest.mark.parametrize("signature", ["ü", ""])
    def test_a_signature_of_any_characters_is_merely_bad(self, signature: str) -> None:
        key, query = self.link()
        with pytest.raises(BadLink):
            self.signer.check(key, {**query, "signature": signature})

    def test_a_link_expires(self) -> None:
        parts = urlsplit(self.signer.sign("a/1.png", seconds=-3600))
        with pytest.raises(BadLink, match="expired"):
            self.signer.check("a/1.png", dict(parse_qsl(parts.query)))

    def test_a_link_lasts_at_least_as_long_as_was_asked(self) -> None:
        _, query = self.link()
        assert int(query["expires"]) >= time.time() + 60

    def test_the_disk_store_links_to_the_portal(self, disk_store: DiskStore) -> None:
        assert disk_store.link("a/1.png", seconds=60).startswith("/files/a/1.png?expires=")


class TestS3:
    def test_a_link_reads_the_object(self, s3_store: S3Store) -> None:
        s3_store.put("a/1.png", IMAGE, "image/png")
        content, headers = read(s3_store.link("a/1.png", seconds=60))
        assert (content, headers["Content-Type"]) == (IMAGE, "image/png")

    def test_a_link_with_a_filename_makes_the_browser_save(self, s3_store: S3Store) -> None:
        s3_store.put("a/1.png", IMAGE, "image/png")
        _, headers = read(s3_store.link("a/1.png", seconds=60, filename="fox.png"))
        assert headers["Content-Disposition"] == "attachment; filename*=UTF-8''fox.png"

    def test_a_link_carries_its_end_and_a_signature(self, s3_store: S3Store) -> None:
        query = dict(parse_qsl(urlsplit(s3_store.link("a/1.png", seconds=60)).query))
        assert query["X-Amz-Expires"] == "60"
        assert query["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"

    def test_links_use_the_public_endpoint(self, bucket: str) -> None:
        store = S3Store.of_url(f"{bucket}&public_endpoint=https://images.example")
        assert store.link("a/1.png", seconds=60).startswith("https://images.example/farm/images/a/1.png?")

    def test_objects_lie_below_the_prefix(self, s3_store: S3Store, bucket: str) -> None:
        s3_store.put("a/1.png", IMAGE, "image/png")
        assert list(S3Store.of_url(bucket.replace("/images", "")).keys()) == ["images/a/1.png"]

    def test_two_prefixes_do_not_see_each_other(self, s3_store: S3Store, bucket: str) -> None:
        S3Store.of_url(bucket.replace("/images", "/images2")).put("a/1.png", IMAGE, "image/png")
        assert sorted(s3_store.keys()) == []

    def test_all_pages_of_a_long_listing_are_read(self, s3_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")
        for key in "abcde":
            s3_store.put(key, IMAGE, "image/png")
        assert sorted(s3_store.keys()) == list("abcde")

    def test_the_parts_of_an_upload_that_was_cut_off_are_cleared_once_they_are_old(
        self, s3_store: S3Store, s3_endpoint: str
    ) -> None:
        client = boto3.client("s3", endpoint_url=s3_endpoint)
        begun = client.create_multipart_upload(Bucket="farm", Key="images/weights/1")["UploadId"]
        client.upload_part(Bucket="farm", Key="images/weights/1", UploadId=begun, PartNumber=1, Body=IMAGE)
        # To this server every upload began in 2010.
        assert s3_store.clear_leftovers(older_than_seconds=100 * 365 * 86400) == 0
        assert s3_store.clear_leftovers(older_than_seconds=60) == 1
        assert client.list_multipart_uploads(Bucket="farm").get("Uploads", []) == []

    def test_a_missing_bucket_is_a_store_error(self, bucket: str, tmp_path: Path) -> None:
        store = S3Store.of_url(bucket.replace("//farm", "//nowhere"))
        with pytest.raises(StoreError, match="Cannot reach the bucket nowhere: 404"):
            store.check()
        with pytest.raises(StoreError, match="Could not write a: NoSuchBucket"):
            store.put("a", IMAGE, "image/png")
        (tmp_path / "a").touch()
        with pytest.raises(StoreError, match="Could not write a: NoSuchBucket"):
            store.put_file("a", tmp_path / "a", "image/png")

    @pytest.mark.usefixtures("bucket", "impatience")
    def test_a_server_that_is_down_is_an_outage(self) -> None:
        with pytest.raises(StoreOutage, match="Could not read a: Could not connect"):
            S3Store.of_url(f"s3://farm?endpoint={NOWHERE}").get("a")

    @pytest.mark.usefixtures("bucket", "impatience")
    @pytest.mark.parametrize("trouble", [Trouble.ERROR, Trouble.HANG, Trouble.CUT, Trouble.MUTE])
    def test_a_server_in_trouble_is_an_outage_and_nothing_is_missing(
        self, objects: ObjectServer, tmp_path: Path, trouble: Trouble
    ) -> None:
        store = S3Store.of_url(objects.store_url)
        store.put("a", IMAGE, "image/png")
        objects.trouble = trouble
        for read in (store.get, store.exists, lambda key: store.fetch_file(key, tmp_path / "a"), store.delete):
            with pytest.raises(StoreOutage):
                read("a")
        assert list(tmp_path.glob("a*")) == []

    @pytest.mark.usefixtures("bucket")
    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            (503, "SlowDown", StoreOutage),
            (429, "TooManyRequests", StoreOutage),
            (400, "RequestTimeout", StoreOutage),
            (403, "AccessDenied", StoreRefused),
            (403, "SignatureDoesNotMatch", StoreRefused),
            (404, "NoSuchBucket", StoreRefused),
        ],
    )
    @pytest.mark.usefixtures("impatience")
    def test_the_answer_of_a_server_distinguishes_an_outage_from_a_refusal(
        self, objects: ObjectServer, status: int, code: str, kind: type[StoreError]
    ) -> None:
        objects.answer_instead = status, code
        with pytest.raises(kind, match=f"Could not read a: {code}"):
            S3Store.of_url(objects.store_url).get("a")

    def test_missing_credentials_are_a_store_error(self, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        with pytest.raises(StoreRefused, match="Unable to locate credentials"):
            S3Store.of_url(bucket).check()


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a server."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    monkeypatch.setattr("farm.store.s3._READ_SECONDS", 0.1)


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[ObjectServer]:
    server = ObjectServer(tmp_path / "objects")
    yield server
    server.close()


def read(url: str) -> tuple[bytes, HTTPMessage]:
    with urllib.request.urlopen(url) as response:
        return response.read(), response.headers


class TestStoreUrl:
    def test_a_file_url_opens_a_folder(self, settings: Settings, tmp_path: Path) -> None:
        store = open_store(settings.model_copy(update={"store_url": f"file://{tmp_path}/with%20space"}))
        store.put("a", IMAGE, "image/png")
        assert (tmp_path / "with space" / "a").exists()

    def test_an_s3_url_opens_a_bucket(self, settings: Settings, bucket: str) -> None:
        assert isinstance(open_store(settings.model_copy(update={"store_url": bucket})), S3Store)

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("file://folder", "FARM_STORE_URL: a folder is written with three slashes"),
            ("s3:///prefix", "FARM_STORE_URL: want s3://bucket/prefix"),
            ("s3://bucket?endpont=x", "unknown: endpont"),
            ("s3://bucket?endpoint=example.com", "FARM_STORE_URL: .*endpoint"),
        ],
    )
    def test_a_bad_url_is_explained(self, settings: Settings, url: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            open_store(settings.model_copy(update={"store_url": url}))

    def test_a_folder_needs_a_key_to_sign_its_links(self, settings: Settings) -> None:
        with pytest.raises(ConfigError, match="FARM_SECRET_KEY must be set"):
            open_store(settings.model_copy(update={"secret_key": None}))
