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
    def test_a_file_is_fetched_by_way_of_the_content_server(self, hub: FakeHub, target: Path) -> None:
        done = quick(hub.put("/f", DATA), target, sha256=sha256(DATA).upper(), size=len(DATA))
        assert (target.read_bytes(), done) == (DATA, DownloadedFile(target, sha256(DATA), len(DATA)))

    def test_a_file_is_checked_against_the_first_digits_of_its_hash(self, hub: FakeHub, target: Path) -> None:
        url, short = hub.put("/f", DATA), sha256(DATA)[:10]
        assert quick(url, target, sha256=short).sha256 == sha256(DATA)
        hub.seen.clear()
        quick(url, target, sha256=short)
        assert hub.seen == []

    def test_a_download_leaves_nothing_beside_its_file(self, hub: FakeHub, target: Path) -> None:
        quick(hub.put("/f", DATA), target)
        assert left_in(target.parent) == [target.name]

    def test_a_file_downloaded_before_is_not_requested_again(self, hub: FakeHub, target: Path) -> None:
        url = hub.put("/f", DATA)
        quick(url, target, sha256=sha256(DATA))
        hub.seen.clear()
        quick(url, target, sha256=sha256(DATA))
        assert hub.seen == []

    def test_a_download_replaces_another_file_of_its_name(self, hub: FakeHub, target: Path) -> None:
        target.parent.mkdir()
        target.write_bytes(b"something else")
        quick(hub.put("/f", DATA), target, sha256=sha256(DATA))
        assert target.read_bytes() == DATA

    def test_a_downloaded_file_may_be_empty(self, hub: FakeHub, target: Path) -> None:
        assert quick(hub.put("/f", b""), target).size == 0

    def test_the_progress_of_a_download_is_reported(self, hub: FakeHub, target: Path) -> None:
        shown: list[tuple[int, int | None]] = []
        quick(hub.put("/f", DATA), target, on_progress=lambda *at: shown.append(at))
        assert shown == sorted(shown)
        assert (shown[0], shown[-1]) == ((0, len(DATA)), (len(DATA), len(DATA)))


class TestACutConnection:
    def test_a_cut_download_resumes_where_it_broke(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after = [HALF]
        quick(hub.put("/f", DATA), target, sha256=sha256(DATA))
        first, second = hub.requests("cdn")
        assert (first.range, second.range) == (None, f"bytes={HALF}-")
        assert second.headers["If-Range"] == f'"{sha256(DATA)[:16]}"'

    def test_a_cut_download_is_retried_for_as_long_as_bytes_arrive(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after = [1000] * 20
        assert quick(hub.put("/f", DATA), target, attempts=2).sha256 == sha256(DATA)

    def test_a_cut_download_is_given_up_once_no_more_bytes_arrive(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after = [HALF, *[0] * 9]
        with pytest.raises(DownloadError, match=r"0\.2 MB that were downloaded are kept"):
            quick(hub.put("/f", DATA), target, attempts=3)
        assert len(hub.requests("cdn")) == 3

    def test_a_failed_download_leaves_a_part_that_the_next_one_resumes(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after = [HALF]
        url = hub.put("/f", DATA)
        with pytest.raises(DownloadError):
            quick(url, target, attempts=1)
        quick(url, target)
        assert target.read_bytes() == DATA
        assert hub.requests("cdn")[-1].range == f"bytes={HALF}-"

    def test_a_cut_download_starts_over_if_the_server_knows_no_ranges(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after, hub.faults.has_ranges = [HALF], False
        assert quick(hub.put("/f", DATA), target).sha256 == sha256(DATA)

    @pytest.mark.parametrize("heeds_if_range", [True, False])
    def test_a_cut_download_starts_over_if_the_file_has_changed(
        self, hub: FakeHub, target: Path, heeds_if_range: bool
    ) -> None:
        hub.faults.cut_after, hub.faults.heeds_if_range = [HALF], heeds_if_range
        with pytest.raises(DownloadError):
            quick(hub.put("/f", DATA), target, attempts=1)
        other = bytes(reversed(DATA))
        assert quick(hub.put("/f", other), target).sha256 == sha256(other)

    def test_a_cut_download_starts_over_without_an_etag_or_a_hash(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after, hub.faults.has_etags = [HALF], False
        quick(hub.put("/f", DATA), target)
        assert [request.range for request in hub.requests("cdn")] == [None, None]

    def test_a_cut_download_resumes_without_an_etag_if_the_hash_is_known(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after, hub.faults.has_etags = [HALF], False
        quick(hub.put("/f", DATA), target, sha256=sha256(DATA))
        assert hub.requests("cdn")[-1].range == f"bytes={HALF}-"

    def test_a_download_cut_after_its_last_byte_fetches_no_further_bytes(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after = [HALF]
        url = hub.put("/f", DATA)
        with pytest.raises(DownloadError):
            quick(url, target, attempts=1)
        with target.with_name(target.name + ".part").open("ab") as part:
            part.write(DATA[HALF:])
        assert quick(url, target).sha256 == sha256(DATA)

    def test_a_cut_download_starts_over_if_its_part_is_longer_than_the_file(
        self, hub: FakeHub, target: Path
    ) -> None:
        hub.faults.cut_after = [HALF]
        url = hub.put("/f", DATA)
        with pytest.raises(DownloadError):
            quick(url, target, attempts=1)
        with target.with_name(target.name + ".part").open("ab") as part:
            part.write(DATA)
        assert quick(url, target).sha256 == sha256(DATA)

    def test_a_part_of_one_address_is_not_resumed_from_another(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after = [HALF]
        with pytest.raises(DownloadError):
            quick(hub.put("/f", DATA), target, attempts=1)
        quick(hub.put("/g", DATA), target, sha256=sha256(DATA))
        assert hub.requests("cdn")[-1].range is None


class TestAWrongFile:
    def test_a_file_with_a_wrong_hash_is_deleted_and_both_hashes_are_named(
        self, hub: FakeHub, target: Path
    ) -> None:
        hub.faults.damaged = True
        with pytest.raises(WrongHash) as caught:
            quick(hub.put("/f", DATA), target, sha256=sha256(DATA))
        assert (caught.value.expected, caught.value.actual) == (sha256(DATA), sha256(bytes(len(DATA))))
        assert left_in(target.parent) == []

    def test_a_file_whose_first_half_was_damaged_on_disk_is_deleted(self, hub: FakeHub, target: Path) -> None:
        hub.faults.cut_after = [HALF]
        url = hub.put("/f", DATA)
        with pytest.raises(DownloadError):
            quick(url, target, attempts=1)
        target.with_name(target.name + ".part").write_bytes(bytes(HALF))
        with pytest.raises(WrongHash):
            quick(url, target, sha256=sha256(DATA))
        assert left_in(target.parent) == []

    def test_a_file_of_an_unexpected_size_is_not_downloaded(self, hub: FakeHub, target: Path) -> None:
        with pytest.raises(DownloadError, match=f"has {len(DATA)} bytes, and 5 were expected"):
            quick(hub.put("/f", DATA), target, size=5)

    def test_a_sign_in_page_instead_of_a_file_names_the_token(self, hub: FakeHub, target: Path) -> None:
        hub.token, hub.faults.login_page = TOKEN, True
        with pytest.raises(DownloadError, match=r"is a web page instead of weights\. Set FARM_CIVITAI_TOKEN"):
            quick(hub.put("/f", DATA), target, access=Access(hub.url, None, "FARM_CIVITAI_TOKEN"))


class TestAToken:
    def test_a_token_opens_the_hub_and_is_not_sent_to_the_content_server(self, hub: FakeHub, target: Path) -> None:
        hub.token = TOKEN
        quick(hub.put("/f", DATA), target, access=Access(hub.url, TOKEN, "FARM_HF_TOKEN"))
        assert hub.requests("hub")[0].headers["Authorization"] == f"Bearer {TOKEN}"
        assert "Authorization" not in hub.requests("cdn")[0].headers

    def test_a_token_is_not_sent_to_a_server_that_is_not_its_hub(self, hub: FakeHub, target: Path) -> None:
        quick(hub.put("/f", DATA), target, access=Access("https://hub.example", TOKEN, "FARM_HF_TOKEN"))
        assert "Authorization" not in hub.requests("hub")[0].headers

    def test_a_missing_token_is_asked_for_by_its_variable(self, hub: FakeHub, target: Path) -> None:
        hub.token = TOKEN
        with pytest.raises(DownloadError, match=r"requires authentication.*Set FARM_HF_TOKEN to a token"):
            quick(hub.put("/f", DATA), target, access=Access(hub.url, None, "FARM_HF_TOKEN"))

    def test_a_wrong_token_is_named_by_its_variable_and_not_shown(self, hub: FakeHub, target: Path) -> None:
        hub.token = TOKEN
        with pytest.raises(DownloadError, match="The token in FARM_HF_TOKEN does not give access") as caught:
            quick(hub.put("/f", DATA), target, access=Access(hub.url, "wrong-token", "FARM_HF_TOKEN"))
        assert "wrong-token" not in str(caught.value) + repr(Access(hub.url, "wrong-token"))

    def test_a_token_in_an_address_is_neither_shown_nor_stored(self, hub: FakeHub, target: Path) -> None:
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
    def test_an_error_of_the_server_is_reported_with_what_to_do(
        self, hub: FakeHub, target: Path, status: int, message: str
    ) -> None:
        hub.faults.answers = [(status, {})] * 5
        with pytest.raises(DownloadError, match=message):
            quick(hub.put("/f", DATA), target)

    def test_an_expired_link_is_replaced_by_a_fresh_one(self, hub: FakeHub, target: Path) -> None:
        hub.faults.answers = [(403, {})]
        assert quick(hub.put("/f", DATA), target).sha256 == sha256(DATA)
        assert len(hub.requests("hub")) == 2

    def test_a_short_rate_limit_is_waited_out(self, hub: FakeHub, target: Path) -> None:
        hub.faults.answers = [(429, {"Retry-After": "1"})]
        started = time.monotonic()
        quick(hub.put("/f", DATA), target)
        assert time.monotonic() - started >= 1

    def test_a_long_rate_limit_is_reported(self, hub: FakeHub, target: Path) -> None:
        hub.faults.answers = [(429, {"Retry-After": "900"})]
        with pytest.raises(DownloadError, match=r"Try again in 900 seconds\. Set FARM_HF_TOKEN"):
            quick(hub.put("/f", DATA), target, access=Access(hub.url, None, "FARM_HF_TOKEN"))

    def test_a_refused_connection_names_the_host(self, target: Path) -> None:
        with pytest.raises(DownloadError, match=r"127\.0\.0\.1 cannot be reached"):
            quick("http://127.0.0.1:1/f", target, attempts=2)

    def test_an_unencrypted_address_is_refused(self, target: Path) -> None:
        with pytest.raises(DownloadError, match="use an https:// address"):
            quick("http://hub.example/f", target)

    def test_a_redirect_to_an_unencrypted_address_is_refused(self, hub: FakeHub, target: Path) -> None:
        hub.cdn_url = "http://hub.example"
        with pytest.raises(DownloadError, match=r"redirects to http://hub\.example/f, which is not requested"):
            quick(hub.put("/f", DATA), target)

    def test_a_ring_of_redirects_is_refused(self, hub: FakeHub, target: Path) -> None:
        hub.cdn_url = hub.url
        with pytest.raises(DownloadError, match="redirects to an address that cannot be requested"):
            quick(hub.put("/f", DATA), target)


class TestTheDisk:
    def test_free_space_is_checked_before_the_first_byte(
        self, hub: FakeHub, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        full = shutil.disk_usage("/")._replace(free=1)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
        with pytest.raises(DownloadError, match=r"GB more are needed\. Make room, or set FARM_DOWNLOAD_DIR"):
            quick(hub.put("/f", DATA), target)
        assert target.with_name(target.name + ".part").stat().st_size == 0

    def test_a_file_is_downloaded_by_one_process_at_a_time(self, hub: FakeHub, target: Path) -> None:
        target.parent.mkdir()
        with target.with_name(target.name + ".part").open("ab") as part:
            fcntl.flock(part, fcntl.LOCK_EX)
            with pytest.raises(DownloadError, match="Another process is downloading"):
                quick(hub.put("/f", DATA), target)

    def test_a_file_in_place_of_the_download_folder_is_reported(self, hub: FakeHub, tmp_path: Path) -> None:
        (tmp_path / "weights").write_text("no folder")
        with pytest.raises(DownloadError, match="cannot be made"):
            quick(hub.put("/f", DATA), tmp_path / "weights" / "file")
