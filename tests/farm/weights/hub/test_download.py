"""A file comes whole and right, or not at all, whatever the server does."""

import fcntl
import hashlib
import shutil
import time
from pathlib import Path

import pytest

from farm.weights.hub.download import DownloadedFile, WrongHash, download
from farm.weights.hub.transport import Access, DownloadError
from tests.farm.weights.hub.server import TOKEN, FakeHub, sha256

DATA = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(10_000))
HALF = len(DATA) // 2


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "weights" / "file.safetensors"


def quick(url: str, target: Path, **options: object) -> DownloadedFile:
    return download(url, target, pause_seconds=0.001, **options)  # type: ignore[arg-type]


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestAWholeFile:
    def test_comes_by_way_of_the_content_server(self, hub: FakeHub, target: Path) -> None:
        done = quick(hub.put("/f", DATA), target, sha256=sha256(DATA).upper(), size=len(DATA))
        assert (target.read_bytes(), done) == (DATA, DownloadedFile(target, sha256(DATA), len(DATA)))

    def test_may_be_promised_by_the_first_digits_of_its_hash(self, hub: FakeHub, target: Path) -> None:
        url, short = hub.put("/f", DATA), sha256(DATA)[:10]
        assert quick(url, target, sha256=short).sha256 == sha256(DATA)
        hub.seen.clear()
        quick(url, target, sha256=short)
        assert hub.seen == []

    def test_leaves_nothing_beside_it(self, hub: FakeHub, target: Path) -> None:
        quick(hub.put("/f", DATA), target)
        assert left_in(target.parent) == [target.name]

    def test_that_is_here_already_is_not_asked_for(self, hub: FakeHub, target: Path) -> None:
        url = hub.put("/f", DATA)
        quick(url, target, sha256=sha256(DATA))
        hub.seen.clear()
        quick(url, target, sha256=sha256(DATA))
        assert hub.seen == []

    def test_replaces_another_one_of_its_name(self, hub: FakeHub, target: Path) -> None:
        target.parent.mkdir()
        target.write_bytes(b"something else")
        quick(hub.put("/f", DATA), target, sha256=sha256(DATA))
        assert target.read_bytes() == DATA

    def test_may_be_empty(self, hub: FakeHub, target: Path) -> None:
        assert quick(hub.put("/f", b""), target).size == 0

    def test_is_shown_as_it_comes(self, hub: FakeHub, target: Path) -> None:
        shown: list[tuple[int, int | None]] = []
        quick(hub.put("/f", DATA), target, on_progress=lambda *at: shown.append(at))
        assert shown == sorted(shown)
        assert (shown[0], shown[-1]) == ((0, len(DATA)), (len(DATA), len(DATA)))


class TestACutConnection:
    def test_is_gone_on_from_where_it_broke(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after = [HALF]
        quick(hub.put("/f", DATA), target, sha256=sha256(DATA))
        first, second = hub.requests("cdn")
        assert (first.range, second.range) == (None, f"bytes={HALF}-")
        assert second.headers["If-Range"] == f'"{sha256(DATA)[:16]}"'

    def test_is_forgiven_as_often_as_bytes_came(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after = [1000] * 20
        assert quick(hub.put("/f", DATA), target, attempts=2).sha256 == sha256(DATA)

    def test_is_given_up_where_nothing_comes_any_more(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after = [HALF, *[0] * 9]
        with pytest.raises(DownloadError, match=r"0\.2 MB that were downloaded are kept"):
            quick(hub.put("/f", DATA), target, attempts=3)
        assert len(hub.requests("cdn")) == 3

    def test_leaves_a_part_that_the_next_try_goes_on_from(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after = [HALF]
        url = hub.put("/f", DATA)
        with pytest.raises(DownloadError):
            quick(url, target, attempts=1)
        quick(url, target)
        assert target.read_bytes() == DATA
        assert hub.requests("cdn")[-1].range == f"bytes={HALF}-"

    def test_begins_again_where_the_server_knows_no_ranges(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after, hub.faults.has_ranges = [HALF], False
        assert quick(hub.put("/f", DATA), target).sha256 == sha256(DATA)

    @pytest.mark.parametrize("heeds_if_range", [True, False])
    def test_begins_again_if_the_file_changed_meanwhile(
        self, hub: FakeHub, target: Path, heeds_if_range: bool
    ) -> None:
        hub.faults.cut_after, hub.faults.heeds_if_range = [HALF], heeds_if_range
        with pytest.raises(DownloadError):
            quick(hub.put("/f", DATA), target, attempts=1)
        other = bytes(reversed(DATA))
        assert quick(hub.put("/f", other), target).sha256 == sha256(other)

    def test_begins_again_if_nothing_tells_the_versions_apart(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after, hub.faults.has_etags = [HALF], False
        quick(hub.put("/f", DATA), target)
        assert [request.range for request in hub.requests("cdn")] == [None, None]

    def test_needs_no_etag_where_the_hash_is_known(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after, hub.faults.has_etags = [HALF], False
        quick(hub.put("/f", DATA), target, sha256=sha256(DATA))
        assert hub.requests("cdn")[-1].range == f"bytes={HALF}-"

    def test_after_the_last_byte_costs_no_further_bytes(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after = [HALF]
        url = hub.put("/f", DATA)
        with pytest.raises(DownloadError):
            quick(url, target, attempts=1)
        with target.with_name(target.name + ".part").open("ab") as part:
            part.write(DATA[HALF:])
        assert quick(url, target).sha256 == sha256(DATA)

    def test_begins_again_if_the_part_is_longer_than_the_file(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after = [HALF]
        url = hub.put("/f", DATA)
        with pytest.raises(DownloadError):
            quick(url, target, attempts=1)
        with target.with_name(target.name + ".part").open("ab") as part:
            part.write(DATA)
        assert quick(url, target).sha256 == sha256(DATA)

    def test_leaves_a_part_that_another_address_does_not_take_over(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after = [HALF]
        with pytest.raises(DownloadError):
            quick(hub.put("/f", DATA), target, attempts=1)
        quick(hub.put("/g", DATA), target, sha256=sha256(DATA))
        assert hub.requests("cdn")[-1].range is None


class TestAWrongFile:
    def test_is_deleted_and_both_hashes_are_named(self, hub: FakeHub, target: Path) -> None:
        hub.faults.damaged = True
        with pytest.raises(WrongHash) as caught:
            quick(hub.put("/f", DATA), target, sha256=sha256(DATA))
        assert (caught.value.expected, caught.value.actual) == (sha256(DATA), sha256(bytes(len(DATA))))
        assert left_in(target.parent) == []

    def test_whose_first_half_went_bad_on_disk_is_deleted(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after = [HALF]
        url = hub.put("/f", DATA)
        with pytest.raises(DownloadError):
            quick(url, target, attempts=1)
        target.with_name(target.name + ".part").write_bytes(bytes(HALF))
        with pytest.raises(WrongHash):
            quick(url, target, sha256=sha256(DATA))
        assert left_in(target.parent) == []

    def test_of_another_size_is_not_begun(self, hub: FakeHub, target: Path) -> None:
        with pytest.raises(DownloadError, match=f"has {len(DATA)} bytes, and 5 were expected"):
            quick(hub.put("/f", DATA), target, size=5)

    def test_that_is_a_page_to_sign_in_names_the_token(self, hub: FakeHub, target: Path) -> None:
        hub.token, hub.faults.login_page = TOKEN, True
        with pytest.raises(DownloadError, match=r"is a web page instead of weights\. Set FARM_CIVITAI_TOKEN"):
            quick(hub.put("/f", DATA), target, access=Access(hub.url, None, "FARM_CIVITAI_TOKEN"))


class TestAToken:
    def test_opens_the_hub_and_is_not_shown_to_the_content_server(self, hub: FakeHub, target: Path) -> None:
        hub.token = TOKEN
        quick(hub.put("/f", DATA), target, access=Access(hub.url, TOKEN, "FARM_HF_TOKEN"))
        assert hub.requests("hub")[0].headers["Authorization"] == f"Bearer {TOKEN}"
        assert "Authorization" not in hub.requests("cdn")[0].headers

    def test_is_not_shown_to_a_server_that_is_not_its_hub(self, hub: FakeHub, target: Path) -> None:
        quick(hub.put("/f", DATA), target, access=Access("https://hub.example", TOKEN, "FARM_HF_TOKEN"))
        assert "Authorization" not in hub.requests("hub")[0].headers

    def test_that_is_missing_is_asked_for_by_its_variable(self, hub: FakeHub, target: Path) -> None:
        hub.token = TOKEN
        with pytest.raises(DownloadError, match=r"requires authentication.*Set FARM_HF_TOKEN to a token"):
            quick(hub.put("/f", DATA), target, access=Access(hub.url, None, "FARM_HF_TOKEN"))

    def test_that_is_wrong_is_named_but_not_told(self, hub: FakeHub, target: Path) -> None:
        hub.token = TOKEN
        with pytest.raises(DownloadError, match="The token in FARM_HF_TOKEN does not give access") as caught:
            quick(hub.put("/f", DATA), target, access=Access(hub.url, "wrong-token", "FARM_HF_TOKEN"))
        assert "wrong-token" not in str(caught.value) + repr(Access(hub.url, "wrong-token"))

    def test_in_an_address_is_neither_told_nor_kept(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after = [HALF]
        with pytest.raises(DownloadError) as caught:
            quick(hub.put("/f", DATA) + f"?token={TOKEN}", target, attempts=1)
        kept = target.with_name(target.name + ".part.json").read_text()
        assert TOKEN not in str(caught.value) + kept


class TestARefusal:
    @pytest.mark.parametrize(
        ("status", "message"),
        [
            (400, "the server answered 400"),
            (401, "the link to the content server was refused"),
            (403, "the link to the content server was refused"),
            (404, "does not exist .* Check the name, the revision and the file"),
            (503, "the hub answered 503"),
        ],
    )
    def test_says_what_to_do(self, hub: FakeHub, target: Path, status: int, message: str) -> None:
        hub.faults.answers = [(status, {})] * 5
        with pytest.raises(DownloadError, match=message):
            quick(hub.put("/f", DATA), target)

    def test_of_a_link_that_ran_out_is_answered_with_a_fresh_one(self, hub: FakeHub, target: Path) -> None:
        hub.faults.answers = [(403, {})]
        assert quick(hub.put("/f", DATA), target).sha256 == sha256(DATA)
        assert len(hub.requests("hub")) == 2

    def test_for_asking_too_often_is_waited_out(self, hub: FakeHub, target: Path) -> None:
        hub.faults.answers = [(429, {"Retry-After": "1"})]
        started = time.monotonic()
        quick(hub.put("/f", DATA), target)
        assert time.monotonic() - started >= 1

    def test_for_longer_than_anybody_waits_is_told(self, hub: FakeHub, target: Path) -> None:
        hub.faults.answers = [(429, {"Retry-After": "900"})]
        with pytest.raises(DownloadError, match=r"Try again in 900 seconds\. Set FARM_HF_TOKEN"):
            quick(hub.put("/f", DATA), target, access=Access(hub.url, None, "FARM_HF_TOKEN"))

    def test_of_the_connection_names_the_host(self, target: Path) -> None:
        with pytest.raises(DownloadError, match=r"127\.0\.0\.1 cannot be reached"):
            quick("http://127.0.0.1:1/f", target, attempts=2)

    def test_of_an_unencrypted_address_is_ours(self, target: Path) -> None:
        with pytest.raises(DownloadError, match="use an https:// address"):
            quick("http://hub.example/f", target)

    def test_of_a_redirect_to_an_unencrypted_address_is_ours(self, hub: FakeHub, target: Path) -> None:
        hub.cdn_url = "http://hub.example"
        with pytest.raises(DownloadError, match=r"redirects to http://hub\.example/f, which is not requested"):
            quick(hub.put("/f", DATA), target)

    def test_of_a_ring_of_redirects_is_ours(self, hub: FakeHub, target: Path) -> None:
        hub.cdn_url = hub.url
        with pytest.raises(DownloadError, match="redirects to an address that cannot be requested"):
            quick(hub.put("/f", DATA), target)


class TestTheDisk:
    def test_is_asked_for_room_before_the_first_byte(
        self, hub: FakeHub, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        full = shutil.disk_usage("/")._replace(free=1)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
        with pytest.raises(DownloadError, match=r"GB more are needed\. Make room, or set FARM_DOWNLOAD_DIR"):
            quick(hub.put("/f", DATA), target)
        assert target.with_name(target.name + ".part").stat().st_size == 0

    def test_has_one_writer_for_each_file(self, hub: FakeHub, target: Path) -> None:
        target.parent.mkdir()
        with target.with_name(target.name + ".part").open("ab") as part:
            fcntl.flock(part, fcntl.LOCK_EX)
            with pytest.raises(DownloadError, match="Another process is downloading"):
                quick(hub.put("/f", DATA), target)

    def test_with_a_file_in_place_of_the_folder_is_told(self, hub: FakeHub, tmp_path: Path) -> None:
        (tmp_path / "weights").write_text("no folder")
        with pytest.raises(DownloadError, match="cannot be made"):
            quick(hub.put("/f", DATA), tmp_path / "weights" / "file")
