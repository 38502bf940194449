"""An upload and its object come and go together, whoever else is at work."""

import base64
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from farm.errors import InvalidRequest, NotFound, StoreError
from farm.pictures import sources, uploads
from farm.pictures.clean import PictureRole
from farm.pictures.uploads import Desk
from farm.spec.budget import for_pictures
from farm.store.keys import input_key
from farm.upkeep import orphans, retention
from farm.upkeep.cleaner import Cleaner
from tests.factories import Scene
from tests.fakes import FailingStore, MemoryStore, StuckStore
from tests.pictures import a_picture, decoded, encoded
from tests.waiting import wait_until

PICTURE = encoded(a_picture())
UNKNOWN = "f" * 64


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def desk(scene: Scene, store: MemoryStore) -> Desk:
    return Desk(scene.database, store, scene.settings)


def at(desk: Desk, store: MemoryStore) -> Desk:
    """The same desk with another store behind it."""
    return Desk(desk.database, store, desk.settings)


def send(desk: Desk, colour: str = "teal") -> str:
    """Keep a picture of this colour; its id."""
    return uploads.keep(desk, encoded(a_picture(colour=colour)), role="input").report.id


def clean(scene: Scene, store: MemoryStore, **settings: int) -> None:
    """One round of a cleaner."""
    Cleaner(scene.settings.model_copy(update=settings), scene.database, store).make_round()


def let_hours_pass(scene: Scene, hours: int) -> None:
    scene.scalar(
        "UPDATE uploads SET used_at = used_at - make_interval(hours => :hours) RETURNING sha256", hours=hours
    )


def need(scene: Scene, job_id: int, *digests: str) -> None:
    with scene.database.begin() as session:
        uploads.require_uploads(session, job_id, digests)


def kept(scene: Scene) -> set[str]:
    return set(scene.scalar("SELECT coalesce(array_agg(sha256), '{}') FROM uploads"))


def is_tidy(scene: Scene, store: MemoryStore) -> bool:
    """Whether each upload has its object, and each object its upload; nothing is left to be done."""
    keys = set(scene.scalar("SELECT coalesce(array_agg(key), '{}') FROM artifacts"))
    named = {input_key(digest) for digest in kept(scene)}
    return keys == named == set(store.objects) and not scene.scalar("SELECT count(*) FROM discards")


class TestKeeping:
    def test_a_kept_upload_is_reported_with_its_size_and_address(self, desk: Desk, store: MemoryStore) -> None:
        first = uploads.keep(desk, PICTURE, role="input")
        report = first.report
        content = store.objects[f"inputs/{report.id}.png"]
        assert first.is_new
        assert (report.width, report.height, report.role, report.media_type) == (48, 32, "input", "image/png")
        assert (report.size_bytes, report.url) == (len(content), f"memory:inputs/{report.id}.png")

    def test_the_id_is_the_sha256_of_the_object(self, scene: Scene, desk: Desk, store: MemoryStore) -> None:
        digest = send(desk)
        assert (
            scene.scalar("SELECT encode(sha256(:content), 'hex')", content=store.objects[input_key(digest)])
            == digest
        )

    def test_sending_a_picture_again_changes_nothing_but_its_time_of_use(
        self, scene: Scene, desk: Desk, store: MemoryStore
    ) -> None:
        digest = send(desk)
        let_hours_pass(scene, 100)
        again = uploads.keep(desk, PICTURE, role="input")
        assert (again.report.id, again.is_new) == (digest, False)
        assert scene.scalar("SELECT now() - used_at < interval '1 minute' FROM uploads")
        assert is_tidy(scene, store)

    def test_sending_a_picture_again_restores_its_lost_object(
        self, scene: Scene, desk: Desk, store: MemoryStore
    ) -> None:
        store.delete(input_key(send(desk)))
        send(desk)
        assert is_tidy(scene, store)

    def test_a_picture_may_be_sent_by_many_at_once(self, scene: Scene, desk: Desk, store: MemoryStore) -> None:
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda _: uploads.keep(desk, PICTURE, role="input"), range(8)))
        assert sorted(answer.is_new for answer in answers) == [False] * 7 + [True]
        assert is_tidy(scene, store)

    def test_a_picture_and_a_mask_of_it_are_two_uploads(self, scene: Scene, desk: Desk, store: MemoryStore) -> None:
        uploads.keep(desk, PICTURE, role="input")
        mask = uploads.keep(desk, PICTURE, role="mask").report
        assert (len(kept(scene)), mask.role) == (2, "mask")
        assert decoded(store.objects[input_key(mask.id)]).mode == "L"

    def test_a_file_that_is_no_picture_leaves_nothing_behind(
        self, scene: Scene, desk: Desk, store: MemoryStore
    ) -> None:
        with pytest.raises(InvalidRequest):
            uploads.keep(desk, b"hello", role="input")
        assert (kept(scene), store.objects) == (set(), {})

    def test_no_transaction_is_open_while_the_store_works(self, scene: Scene, desk: Desk) -> None:
        idle = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
        seen = []

        class WatchedStore(MemoryStore):
            """A store that looks at Postgres while it is put to."""

            def put(self, key: str, content: bytes, media_type: str) -> None:
                seen.append(scene.scalar(idle))
                super().put(key, content, media_type)

        send(at(desk, WatchedStore()))
        assert seen == [0]

    def test_an_upload_is_shown_by_its_id(self, scene: Scene, desk: Desk) -> None:
        report = uploads.keep(desk, PICTURE, role="mask").report
        with scene.database.begin() as session:
            assert uploads.show(session, desk, report.id) == report
            with pytest.raises(NotFound, match=UNKNOWN):
                uploads.show(session, desk, UNKNOWN)


class TestCrashes:
    def test_a_store_that_fails_leaves_no_upload(self, scene: Scene, desk: Desk) -> None:
        store = FailingStore(failures=1)
        with pytest.raises(StoreError):
            send(at(desk, store))
        assert kept(scene) == set()
        clean(scene, store)
        assert is_tidy(scene, store)

    def test_an_object_whose_rows_never_came_is_deleted(self, scene: Scene, desk: Desk, store: MemoryStore) -> None:
        """The connection is lost during the put, as it is when the portal is killed right after."""

        class CutStore(MemoryStore):
            """A store that takes so long that Postgres has restarted meanwhile."""

            def put(self, key: str, content: bytes, media_type: str) -> None:
                store.put(key, content, media_type)
                scene.end_other_sessions()

        with pytest.raises(SQLAlchemyError):
            send(at(desk, CutStore()))
        assert (kept(scene), len(store.objects)) == (set(), 1)
        clean(scene, store)
        assert is_tidy(scene, store)

    def test_a_picture_can_be_sent_again_after_a_failed_put(self, scene: Scene, desk: Desk) -> None:
        store = FailingStore(failures=1)
        with pytest.raises(StoreError):
            send(at(desk, store))
        send(at(desk, store))
        assert is_tidy(scene, store)
        assert len(store.objects) == 1

    def test_a_sweep_takes_no_unknown_input_for_an_orphan(
        self, scene: Scene, desk: Desk, store: MemoryStore
    ) -> None:
        send(desk)
        store.put(input_key(UNKNOWN), b"somebody's", "image/png")
        assert orphans.sweep(scene.database, store) == orphans.Swept(orphans=0, leftovers=0, strangers=1)
        assert len(store.objects) == 2


class TestRetention:
    def test_an_unused_upload_is_deleted_with_its_object(
        self, scene: Scene, desk: Desk, store: MemoryStore
    ) -> None:
        send(desk)
        let_hours_pass(scene, 25)
        young = send(desk, "gold")
        clean(scene, store, keep_uploads_hours=24)
        assert kept(scene) == {young}
        assert is_tidy(scene, store)

    @pytest.mark.parametrize("hours", [0, 26])
    def test_younger_uploads_are_kept(self, scene: Scene, desk: Desk, store: MemoryStore, hours: int) -> None:
        send(desk)
        let_hours_pass(scene, 25)
        clean(scene, store, keep_uploads_hours=hours)
        assert len(kept(scene)) == len(store.objects) == 1

    def test_an_upload_that_a_job_needs_is_kept_however_old(
        self, scene: Scene, desk: Desk, store: MemoryStore
    ) -> None:
        need(scene, scene.submit(), send(desk))
        let_hours_pass(scene, 10_000)
        clean(scene, store, keep_uploads_hours=1)
        assert len(kept(scene)) == len(store.objects) == 1

    def test_an_upload_is_deleted_with_the_last_job_that_needed_it(
        self, scene: Scene, desk: Desk, store: MemoryStore
    ) -> None:
        digest, worker_id = send(desk), scene.worker()
        for _ in range(2):
            need(scene, scene.submit(), digest)
            [lease] = scene.claim(worker_id)
            scene.fail(lease, is_retryable=False)
        let_hours_pass(scene, 2_000)
        scene.scalar("UPDATE jobs SET finished_at = now() - interval '91 days' WHERE id = 1 RETURNING id")
        clean(scene, store, keep_jobs_days=90)
        assert kept(scene) == {digest}
        scene.let_days_pass(91)
        clean(scene, store, keep_jobs_days=90)
        assert is_tidy(scene, store)
        assert kept(scene) == set()

    def test_unused_uploads_are_deleted_in_small_batches(self, scene: Scene, desk: Desk) -> None:
        for colour in ("teal", "gold", "navy"):
            send(desk, colour)
        let_hours_pass(scene, 25)
        with scene.database.begin() as session:
            assert [retention.prune_uploads(session, 24, limit=2) for _ in range(3)] == [2, 1, 0]

    def test_objects_that_the_store_would_not_delete_are_deleted_later(
        self, scene: Scene, desk: Desk, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        send(desk)
        let_hours_pass(scene, 25)
        with monkeypatch.context() as patched:
            patched.setattr(store, "delete", _refuse)
            clean(scene, store)
        assert (kept(scene), len(store.objects)) == (set(), 1)
        clean(scene, store)
        assert is_tidy(scene, store)


def _refuse(key: str) -> None:
    raise StoreError("The bucket cannot be reached.")


class TestAtOnce:
    def test_a_cleaner_deletes_nothing_that_is_just_being_sent(self, scene: Scene, desk: Desk) -> None:
        store = StuckStore()
        with ThreadPoolExecutor() as threads:
            sending = threads.submit(send, at(desk, store))
            # Its key is written down before it is put.
            wait_until(lambda: scene.scalar("SELECT count(*) FROM discards"), seconds=10)
            clean(scene, store)
            assert scene.scalar("SELECT count(*) FROM discards") == 1
            store.let_go.set()
            digest = sending.result()
        assert kept(scene) == {digest}
        assert is_tidy(scene, store)

    def test_a_picture_sent_again_before_its_object_was_deleted_keeps_it(
        self, scene: Scene, desk: Desk, store: MemoryStore
    ) -> None:
        send(desk)
        let_hours_pass(scene, 25)
        with scene.database.begin() as session:
            assert retention.prune_uploads(session, 24) == 1
        send(desk)
        assert uploads.discard(scene.database, store) == 0
        assert is_tidy(scene, store)

    def test_a_picture_sent_again_after_the_cleaner_listed_it_keeps_its_object(
        self, scene: Scene, desk: Desk
    ) -> None:
        colours = ("teal", "gold")
        deleted = []

        class BusyStore(MemoryStore):
            """A store that is slow to delete: meanwhile both pictures but that one are sent again."""

            def delete(self, key: str) -> None:
                super().delete(key)
                deleted.append(key)
                for colour in colours:
                    if input_key(digests[colour]) != key:
                        send(at(desk, self), colour)

        store = BusyStore()
        digests = {colour: send(at(desk, store), colour) for colour in colours}
        let_hours_pass(scene, 25)
        clean(scene, store)
        assert (len(deleted), len(kept(scene))) == (1, 1)
        assert is_tidy(scene, store)

    def test_a_picture_sent_while_its_object_is_deleted_is_put_afterwards(self, scene: Scene, desk: Desk) -> None:
        store = SlowlyDeletingStore()
        send(at(desk, store))
        let_hours_pass(scene, 25)
        with ThreadPoolExecutor() as threads:
            cleaning = threads.submit(clean, scene, store)
            assert store.deleting.wait(10)
            sending = threads.submit(send, at(desk, store))
            scene.wait_for_blocked()
            store.go_on.set()
            cleaning.result()
            digest = sending.result()
        assert kept(scene) == {digest}
        assert is_tidy(scene, store)

    def test_a_picture_sent_while_its_rows_are_deleted_is_stored_as_a_new_one(
        self, scene: Scene, desk: Desk, store: MemoryStore
    ) -> None:
        send(desk)
        let_hours_pass(scene, 25)
        with ThreadPoolExecutor() as threads:
            with scene.database.begin() as session:
                assert retention.prune_uploads(session, 24) == 1
                sending = threads.submit(uploads.keep, desk, PICTURE, role="input")
                scene.wait_for_blocked()
            assert sending.result().is_new
        assert is_tidy(scene, store)

    def test_an_upload_that_a_job_is_about_to_need_is_not_deleted(self, scene: Scene, desk: Desk) -> None:
        digest = send(desk)
        job_id = scene.submit()
        let_hours_pass(scene, 25)
        with scene.database.begin() as submitting, scene.database.begin() as session:
            assert uploads.lock_sizes(submitting, [digest]) == {digest: (48, 32)}
            assert retention.prune_uploads(session, 24) == 0
            uploads.require_uploads(submitting, job_id, [digest])
        assert kept(scene) == {digest}

    def test_a_job_that_needs_an_upload_just_deleted_is_refused(self, scene: Scene, desk: Desk) -> None:
        digest = send(desk)
        job_id = scene.submit()
        let_hours_pass(scene, 25)
        with ThreadPoolExecutor() as threads:
            with scene.database.begin() as session:
                assert retention.prune_uploads(session, 24) == 1
                submitting = threads.submit(need, scene, job_id, digest)
                scene.wait_for_blocked()
            with pytest.raises(InvalidRequest, match=digest):
                submitting.result()

    def test_an_upload_that_a_job_came_to_need_during_a_deletion_is_kept(self, scene: Scene, desk: Desk) -> None:
        """The first statement of a deletion began before the job's commit, its second one after."""
        digest = send(desk)
        job_id = scene.submit()
        let_hours_pass(scene, 25)
        with scene.database.begin() as session:
            session.execute(text("SET TRANSACTION ISOLATION LEVEL READ COMMITTED"))
            need(scene, job_id, digest)
            deleted = session.connection().execute(retention._DISCARD_UPLOADS, {"digests": [digest]}).rowcount
        assert deleted == 0


class SlowlyDeletingStore(MemoryStore):
    """A store whose first deletion waits until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.deleting = threading.Event()
        self.go_on = threading.Event()

    def delete(self, key: str) -> None:
        self.deleting.set()
        self.go_on.wait(10)
        super().delete(key)


class TestNeeding:
    def test_sizes_are_given_for_the_uploads_that_exist(self, scene: Scene, desk: Desk) -> None:
        digest = send(desk)
        with scene.database.begin() as session:
            assert uploads.lock_sizes(session, {digest, UNKNOWN}) == {digest: (48, 32)}
            assert uploads.lock_sizes(session, set()) == {}

    def test_a_job_may_name_more_uploads_than_a_statement_takes_parameters(self, scene: Scene, desk: Desk) -> None:
        digest = send(desk)
        with scene.database.begin() as session:
            assert uploads.lock_sizes(session, [digest, *(f"{number:064x}" for number in range(70_000))]) == {
                digest: (48, 32)
            }

    def test_an_unknown_upload_is_named(self, scene: Scene) -> None:
        job_id = scene.submit()
        with pytest.raises(InvalidRequest, match=f"image: there is no upload {UNKNOWN}"):
            need(scene, job_id, UNKNOWN)

    def test_a_job_without_uploads_needs_none(self, scene: Scene) -> None:
        need(scene, scene.submit())
        assert scene.scalar("SELECT count(*) FROM job_inputs") == 0


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def wrapped(content: bytes) -> str:
    return base64.encodebytes(content).decode()


class TestSources:
    def resolve(self, desk: Desk, source: str, **options: str) -> str:
        role: PictureRole = "mask" if options.get("role") == "mask" else "input"
        pixels = for_pictures(desk.settings.max_upload_pixels)
        return sources.resolve(desk, source, field="prompts[1].image", role=role, pixels=pixels).id

    def refusal(self, desk: Desk, source: str) -> str:
        with pytest.raises(InvalidRequest) as refused:
            self.resolve(desk, source)
        [problem] = refused.value.problems
        assert problem.field == "prompts[1].image"
        return problem.message

    def test_an_upload_may_be_named_by_its_id(self, scene: Scene, desk: Desk) -> None:
        assert self.resolve(desk, UNKNOWN) == UNKNOWN
        assert kept(scene) == set()

    def test_a_picture_that_does_not_begin_with_its_size_is_paid_for_as_the_largest(self, desk: Desk) -> None:
        plain = encoded(a_picture())
        # A comment before the header, which Pillow reads all the same.
        odd = plain[:8] + bytes.fromhex("0000000574455874") + b"a\0odd" + bytes.fromhex("00000000") + plain[8:]
        source = base64.b64encode(odd).decode()
        assert sources.cost_of_source(desk, source) == desk.limits.most_pixels

    @pytest.mark.parametrize(
        "source",
        [
            in_base64(PICTURE),
            wrapped(PICTURE),
            f"data:image/png;base64,{in_base64(PICTURE)}",
            f"DATA:image/svg+xml;charset=utf-8;base64,{in_base64(PICTURE)}",
        ],
        ids=["bare", "wrapped", "data", "odd data"],
    )
    def test_a_picture_in_base64_is_kept(self, scene: Scene, desk: Desk, source: str) -> None:
        assert kept(scene) == set()
        assert {self.resolve(desk, source)} == kept(scene)

    def test_a_mask_in_base64_is_kept_as_a_mask(self, scene: Scene, desk: Desk) -> None:
        self.resolve(desk, in_base64(PICTURE), role="mask")
        assert scene.scalar("SELECT role FROM artifacts") == "mask"

    @pytest.mark.parametrize(
        "source", ["a cat!", "aGk", "aGk=" * 3 + "secret!", "\u00e9", "data:image/png;base64,?"]
    )
    def test_text_that_is_not_base64_is_refused_without_being_repeated(self, desk: Desk, source: str) -> None:
        message = self.refusal(desk, source)
        assert "base64" in message
        assert source not in message

    @pytest.mark.parametrize("source", ["data:,hello", "data:text/html;base64,aGk=", "data:image/png,aGk="])
    def test_other_data_uris_are_refused(self, desk: Desk, source: str) -> None:
        assert "data:image/png;base64,..." in self.refusal(desk, source)

    def test_base64_of_no_picture_is_refused(self, desk: Desk) -> None:
        assert "PNG, JPEG" in self.refusal(desk, in_base64(b"hello"))

    def test_base64_of_too_much_is_refused_undecoded(self, desk: Desk) -> None:
        small = Desk(desk.database, desk.store, desk.settings.model_copy(update={"max_upload_bytes": 1024}))
        assert "1,024 bytes" in self.refusal(small, "A" * 2048)

    @pytest.mark.parametrize("source", ["https://example.com/a.png", "HTTP://example.com/a.png"])
    def test_addresses_are_not_fetched_unless_the_farm_allows_it(self, desk: Desk, source: str) -> None:
        assert "FARM_FETCH_URLS" in self.refusal(desk, source)

    def test_an_address_that_is_not_public_is_not_fetched(self, desk: Desk) -> None:
        open_desk = Desk(desk.database, desk.store, desk.settings.model_copy(update={"fetch_urls": True}))
        assert "not a public address" in self.refusal(open_desk, "https://127.0.0.1/a.png")
        assert "https://" in self.refusal(open_desk, "http://example.com/a.png")


@pytest.fixture(autouse=True)
def no_lock_is_left(scene: Scene) -> Iterator[None]:
    yield
    assert scene.scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
