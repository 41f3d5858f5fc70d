"""What happens to a volume, depending on the cache; upstream's driver and the cache are stubs."""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib.metadata
import pathlib
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import eventlet
import pytest
from cinder import exception
from cinder import service as cinder_service
from cinder.interface import util
from cinder.objects import volume as volume_objects
from cinder.scheduler.filters.capabilities_filter import CapabilitiesFilter
from cinder.volume import configuration, volume_types
from cinder.volume.drivers.vmware import vmdk
from oslo_config import cfg
from oslo_service import threadgroup

from tests.waiting import wait_until
from vmdk_cache import errors
from vmdk_cache.cache import events
from vmdk_cache.cache.engine import Outcome
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.events import Reason
from vmdk_cache.cache.ports import Place, Volume
from vmdk_cache.cinder.cached_images import as_text
from vmdk_cache.cinder.driver import ImageCacheVmdkDriver
from vmdk_cache.cinder.feedback import Feedback
from vmdk_cache.cinder.workers import OPTION, Workers
from vmdk_cache.image import Image
from vmdk_cache.periodic.backend_report import BackendReport

GROUP = "vmdk_cache_driver_unit"
PATIENCE_S = 60.0
IMAGE_ID = "a0000000-0000-4000-8000-000000000001"
PLACE = Place("datastore-1", "ds1", "host-1", "pool-1", "dc-1")
PLAIN = ({"provider_location": "plain"}, True)


class StubUpstream(vmdk.VMwareVcVmdkDriver):  # type: ignore[misc]  # Cinder is untyped here
    """Cinder's driver without a vCenter.

    :ivar plain: arguments of its clone_image and copy_image_to_... calls
    :ivar plain_fault: raised by them
    :ivar during_plain: called by them
    :ivar deleted: ids of volumes whose deletion was requested
    :ivar delete_fault: raised by these deletions
    :ivar set_up_fault: raised by its do_setup
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.plain: list[tuple[Any, ...]] = []
        self.plain_fault: Exception | None = None
        self.during_plain: Callable[[], None] = lambda: None
        self.deleted: list[str] = []
        self.delete_fault: Exception | None = None
        self.set_up_fault: Exception | None = None

    def do_setup(self, context: Any) -> None:
        if self.set_up_fault is not None:
            raise self.set_up_fault

    def clone_image(self, *args: Any) -> Any:
        self.plain.append(args)
        self.during_plain()
        if self.plain_fault is not None:
            raise self.plain_fault
        return PLAIN

    def copy_image_to_volume(self, *args: Any) -> None:
        StubUpstream.clone_image(self, *args)

    def copy_image_to_encrypted_volume(self, *args: Any) -> None:
        StubUpstream.clone_image(self, *args)

    def delete_volume(self, volume: Any) -> None:
        self.deleted.append(volume.id)
        if self.delete_fault is not None:
            raise self.delete_fault


class StubImages:
    """An engine that returns a given outcome or raises a given error.

    :ivar fails_late: with the clone, not before it
    """

    def __init__(self) -> None:
        self.answer: bool | BaseException = True
        self.fails_late = False
        self.asked: list[tuple[Image, Volume, Any]] = []

    def create_volume(self, image: Image, volume: Volume, source: Any) -> Outcome:
        self.asked.append((image, volume, source))
        if not isinstance(self.answer, BaseException) or self.fails_late:
            volume.remove_old_vm()
        if isinstance(self.answer, BaseException):
            raise self.answer
        entry = CacheEntry("vm-1", "t", Phase.READY, None, "datastore-1", 2000, 1 << 30)
        return Outcome(self.answer, entry, PLACE, 1.0)


class Rounds:
    """Housekeeping, or a warm-up: its first round fails, as with a defect."""

    def __init__(self) -> None:
        self.begun = 0

    def run(self) -> None:
        self.begun += 1
        if self.begun == 1:
            raise RuntimeError("a defect of the first round")


class StubCache:
    """A running cache."""

    def __init__(self) -> None:
        self.images = StubImages()
        self.housekeeping = Rounds()
        self.warm_up = Rounds()
        self.reporter = SimpleNamespace(latest=lambda: BackendReport(7, (IMAGE_ID,)))
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Notes:
    """Cinder's database and its message API.

    :ivar fault: raised by both
    """

    def __init__(self) -> None:
        self.notes: dict[str, str] = {}
        self.messages: list[Any] = []
        self.fault: Exception | None = None

    def volume_metadata_get(self, context: Any, volume_id: str) -> dict[str, str]:
        assert volume_id == "volume-1"
        return dict(self.notes)

    def volume_metadata_update(
        self, context: Any, volume_id: str, metadata: dict[str, str], delete: bool
    ) -> None:
        assert (volume_id, delete) == ("volume-1", False)
        if self.fault is not None:
            raise self.fault
        self.notes.update(metadata)

    def volume_metadata_delete(self, context: Any, volume_id: str, key: str) -> None:
        assert volume_id == "volume-1"
        if self.fault is not None:
            raise self.fault
        del self.notes[key]

    def create(self, context: Any, action: Any, **kwargs: Any) -> None:
        if self.fault is not None:
            raise self.fault
        self.messages.append((action, kwargs))


class Driver(ImageCacheVmdkDriver, StubUpstream):
    """Our driver on the stub.

    :ivar cache: what it opens, or the error that it gets
    """

    cache: StubCache | errors.VmdkCacheError

    def _build_cache(self) -> Any:
        if isinstance(self.cache, Exception):
            raise self.cache
        return self.cache


class Lab:
    """A driver, its stubs, and one request.

    :ivar meta: Cinder's description of the image
    :ivar metadata: of the volume
    :ivar volume_type_id: of the volume
    :ivar volume_fields: further fields of the volume, or values that differ from those of a new one
    """

    def __init__(self, **options: Any) -> None:
        settings = configuration.Configuration(vmdk.vmdk_opts, config_group=GROUP)
        self.driver = Driver(configuration=settings, host="h@b")
        for name, value in {
            "vmware_host_ip": "192.0.2.1",
            "vmware_host_username": "u",
            "vmware_host_password": "p",
            "enable_image_cache": True,
            "image_cache_ledger": "",
            **options,
        }.items():
            cfg.CONF.set_override(name, value, group=GROUP)
        self.cache = StubCache()
        self.driver.cache = self.cache
        self.driver.do_setup(None)
        self.told: list[events.Event] = []
        self.driver._events = self.told.append
        self.notes = Notes()
        self.driver._feedback = Feedback(self.notes, self.notes)
        self.metadata: dict[str, str] = {"use_image_cache": "true"}
        self.volume_type_id: str | None = None
        self.volume_fields: dict[str, Any] = {}
        self.meta: dict[str, Any] = {
            "id": IMAGE_ID,
            "disk_format": "vmdk",
            "container_format": "bare",
            "size": 4,
            "properties": {},
        }

    def clone(self) -> Any:
        self.request = ("context", self.volume(), "location", self.meta, "image service")
        return self.driver.clone_image(*self.request)

    def reimage(self, before: str = "available") -> None:
        """Reimage as Cinder does: with the sparse copy disabled.

        :param before: the volume's status; ``reserved`` for Nova's rebuild
        """
        self.volume_fields = {"status": "downloading", "previous_status": before}
        self.request = ("context", self.volume(), ImageService(self.meta), IMAGE_ID, True)
        self.driver.copy_image_to_volume(*self.request)

    def volume(self) -> _Item:
        fields = {
            "id": "volume-1",
            "name": "volume-volume-1",
            "size": 1,
            "status": "creating",
            "previous_status": None,
            "encryption_key_id": None,
            "volume_type_id": self.volume_type_id,
            "project_id": "p1",
            "metadata": self.metadata,
        }
        return _Item(SimpleNamespace(**{**fields, **self.volume_fields}))

    @property
    def note(self) -> str | None:
        return self.notes.notes.get("image_cache")


class _Item:
    """Read by name and by key, as Cinder's objects are."""

    def __init__(self, values: SimpleNamespace) -> None:
        self.__dict__.update(vars(values))

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)


class ImageService:
    """Cinder's image service, with one image."""

    def __init__(self, meta: dict[str, Any]) -> None:
        self._meta = meta

    def show(self, context: Any, image_id: str) -> dict[str, Any]:
        assert image_id == self._meta["id"]
        return self._meta


def no_database(folder: pathlib.Path) -> str:
    """URL of a database without tables, for any number of threads.

    A database in memory has one connection for all of them, and SQLite crashes if two use it.
    """
    return f"sqlite:///{folder}/cinder.sqlite"


@pytest.fixture
def make_lab(tmp_path: pathlib.Path) -> Iterator[Callable[..., Lab]]:
    made: list[Lab] = []
    cfg.CONF.set_override("connection", no_database(tmp_path), group="database")

    def make(**options: Any) -> Lab:
        made.append(Lab(**options))
        return made[-1]

    yield make
    for lab in made:
        driver = lab.driver
        for loop in (driver._reconnect_loop, driver._housekeeping_loop, driver._warm_up_loop):
            if loop is not None:
                loop.stop()
    for option in list(cfg.CONF[GROUP]):
        cfg.CONF.clear_override(option, group=GROUP)
    cfg.CONF.clear_override("connection", group="database")


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab()


@pytest.mark.parametrize(("hit", "note"), [(True, "hit"), (False, "miss")])
def test_a_volume_that_the_cache_made_is_not_made_again(lab: Lab, hit: bool, note: str) -> None:
    lab.cache.images.answer = hit
    assert lab.clone() == (None, True)
    assert (lab.note, lab.driver.plain, lab.notes.messages) == (note, [], [])
    assert lab.told == [], "the engine tells of hits and misses"
    ((image, volume, _),) = lab.cache.images.asked
    assert image.id == IMAGE_ID
    assert (volume.id, volume.size_bytes, volume.disk_type) == ("volume-1", 1 << 30, "thin")
    assert volume.adapter_type == "lsiLogic"


@pytest.mark.parametrize("before", ["available", "error", "reserved"])
@pytest.mark.parametrize(("hit", "note"), [(True, "hit"), (False, "miss")])
def test_a_reimage_downloads_what_is_cached(lab: Lab, before: str, hit: bool, note: str) -> None:
    lab.cache.images.answer = hit
    lab.notes.notes["image_cache"] = "bypass: no-room"
    lab.reimage(before)
    assert (lab.note, lab.driver.plain, lab.driver.deleted) == (note, [], ["volume-1"])


def test_a_new_volume_is_removed_before_it_is_cloned(lab: Lab) -> None:
    lab.clone()
    assert lab.driver.deleted == []


@pytest.mark.parametrize("fails_late", [False, True])
def test_a_reimage_that_the_cache_cannot_serve_fails(lab: Lab, fails_late: bool) -> None:
    lab.cache.images.answer = errors.NoSpace("full")
    lab.cache.images.fails_late = fails_late
    lab.reimage()
    assert lab.driver.plain == [lab.request]
    assert lab.note == "bypass: fault"
    assert lab.driver.deleted == (["volume-1"] if fails_late else [])


def test_a_reimage_with_an_image_that_cannot_become_the_volume_removes_the_volume(
    lab: Lab,
) -> None:
    lab.cache.images.answer = errors.ImageFormatError("a qcow2 image")
    with pytest.raises(exception.ImageUnacceptable):
        lab.reimage()
    assert (lab.driver.plain, lab.driver.deleted) == ([], [])
    assert lab.note == "failed: a qcow2 image"


def test_a_reimage_that_does_not_ask_goes_through_the_cache_or_keeps_its_note(lab: Lab) -> None:
    lab.metadata = {}
    lab.notes.notes["image_cache"] = "hit"
    lab.reimage()
    assert lab.driver.plain == [lab.request]
    assert (lab.note, lab.driver.deleted, lab.cache.images.asked) == (None, [], [])


@pytest.mark.parametrize("method", ["copy_image_to_volume", "copy_image_to_encrypted_volume"])
@pytest.mark.parametrize(
    ("metadata", "note"), [({"use_image_cache": "true"}, "bypass: encrypted-volume"), ({}, None)]
)
def test_the_user_of_an_encrypted_volume_gets_no_answer(
    lab: Lab, method: str, metadata: dict[str, str], note: str | None
) -> None:
    """Cinder creates such a volume empty, then writes the image; it does the same when it
    reimages.
    """
    lab.metadata = metadata
    for before in (None, "available"):
        lab.volume_fields = {
            "status": "downloading",
            "previous_status": before,
            "encryption_key_id": "key-1",
        }
        request = ("context", lab.volume(), ImageService(lab.meta), IMAGE_ID, False)
        getattr(lab.driver, method)(*request)
        assert lab.driver.plain.pop() == request
    assert (lab.note, lab.cache.images.asked, lab.driver.deleted) == (note, [], [])


def test_a_copy_to_a_new_volume_goes_through_the_cache_twice(lab: Lab) -> None:
    """Upstream's clone_image calls it."""
    lab.request = ("context", lab.volume(), "image service", IMAGE_ID, False)
    lab.driver.copy_image_to_volume(*lab.request)
    assert lab.driver.plain == [lab.request]
    assert (lab.note, lab.cache.images.asked) == (None, [])


def test_the_images_adapter_type_wins(lab: Lab) -> None:
    lab.meta["properties"]["vmware_adaptertype"] = "paraVirtual"
    lab.clone()
    ((_, volume, _),) = lab.cache.images.asked
    assert volume.adapter_type == "paraVirtual"


@pytest.mark.parametrize("metadata", [{}, {"use_image_cache": "false"}])
def test_a_volume_that_did_not_ask_is_made_plainly_and_has_no_note(
    lab: Lab, metadata: dict[str, str]
) -> None:
    lab.metadata = metadata
    assert lab.clone() == PLAIN
    assert lab.driver.plain == [lab.request]
    assert (lab.note, lab.cache.images.asked, lab.told) == (None, [], [])


BYPASSES: list[tuple[BaseException, Reason]] = [
    *((errors.NotCacheable(reason, "because"), reason) for reason in Reason),
    (errors.LockTimeout("held"), Reason.LOCK_TIMEOUT),
    (errors.LockUnavailable("gone"), Reason.FAULT),
    (errors.NoPlacement("full"), Reason.NO_PLACEMENT),
    (errors.ImageDataMissing("no file"), Reason.DATA_MISSING),
    (errors.SourceUnavailable("Glance is out of reach"), Reason.FAULT),
    (errors.ConfigError("wrong"), Reason.FAULT),
    *((kind("vCenter"), Reason.FAULT) for kind in errors.VCenterError.__subclasses__()),
    (errors.VmdkCacheError("any"), Reason.FAULT),
    (RuntimeError("a defect"), Reason.FAULT),
    (KeyError("a defect"), Reason.FAULT),
    (RuntimeError(), Reason.FAULT),
    (AssertionError(), Reason.FAULT),
]


@pytest.mark.parametrize(
    ("failure", "reason"), BYPASSES, ids=lambda value: getattr(value, "name", repr(value)[:60])
)
def test_any_failure_of_the_cache_leads_to_a_plain_import(
    lab: Lab, failure: BaseException, reason: Reason, caplog: pytest.LogCaptureFixture
) -> None:
    lab.cache.images.answer = failure
    with caplog.at_level("INFO"):
        assert lab.clone() == PLAIN
    assert lab.driver.plain == [lab.request]
    text = str(failure) or repr(failure)
    assert lab.note == f"bypass: {reason}" + (f" ({text})" if reason == "not-understood" else "")
    assert lab.told == [events.Bypassed(GROUP, IMAGE_ID, "volume-1", reason)]
    (line,) = (r for r in caplog.records if "bypasses the image cache" in r.getMessage())
    assert line.levelname == ("INFO" if reason is Reason.DISABLED else "WARNING")
    assert line.getMessage().endswith(f"({reason}): {text}")
    assert "volume-1" in line.getMessage()
    assert lab.notes.messages == []


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (errors.ImageFormatError("a qcow2 image"), exception.ImageUnacceptable),
        (errors.VolumeTooSmall("2 GiB"), exception.ImageUnacceptable),
        (errors.ImageError("unfit"), exception.ImageUnacceptable),
        (errors.ImageCorrupt("other bytes"), exception.ImageCopyFailure),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_image_that_cannot_become_a_volume_is_refused_and_the_volume_says_why(
    lab: Lab, failure: errors.ImageError, expected: type[Exception]
) -> None:
    lab.cache.images.answer = failure
    with pytest.raises(expected) as refused:
        lab.clone()
    assert type(refused.value) is expected
    assert str(failure) in str(refused.value)
    assert refused.value.__cause__ is failure
    assert lab.note == f"failed: {failure}"
    assert lab.driver.plain == []
    assert len(lab.notes.messages) == 1
    assert lab.told == [events.VolumeFailed(GROUP, IMAGE_ID, "volume-1", type(failure).__name__)]


def test_a_failed_plain_import_is_reported_and_keeps_the_note(lab: Lab) -> None:
    lab.cache.images.answer = errors.NoSpace("full")
    lab.driver.plain_fault = exception.ImageCopyFailure(reason="full as well")
    with pytest.raises(exception.ImageCopyFailure, match="full as well"):
        lab.clone()
    assert lab.note == "bypass: fault"
    assert lab.told == [
        events.Bypassed(GROUP, IMAGE_ID, "volume-1", Reason.FAULT),
        events.VolumeFailed(GROUP, IMAGE_ID, "volume-1", "ImageCopyFailure"),
    ]


def test_a_failed_volume_without_a_request_is_reported_by_upstream(lab: Lab) -> None:
    lab.metadata = {}
    lab.driver.plain_fault = exception.ImageCopyFailure(reason="full")
    with pytest.raises(exception.ImageCopyFailure):
        lab.clone()
    assert (lab.told, lab.note) == ([], None)


@pytest.mark.parametrize("answer", [True, False, errors.NoSpace("full")])
def test_a_database_that_fails_costs_the_note_only(lab: Lab, answer: Any) -> None:
    lab.notes.fault = RuntimeError("the database is gone")
    lab.cache.images.answer = answer
    assert lab.clone() == (PLAIN if isinstance(answer, Exception) else (None, True))


def test_a_database_that_fails_does_not_hide_the_images_error(lab: Lab) -> None:
    lab.notes.fault = RuntimeError("the database is gone")
    lab.cache.images.answer = errors.ImageFormatError("a qcow2 image")
    with pytest.raises(exception.ImageUnacceptable):
        lab.clone()


def test_a_backend_whose_cache_is_switched_off_says_so(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(enable_image_cache=False)
    assert lab.clone() == PLAIN
    assert lab.note == "bypass: cache-disabled"
    assert lab.cache.images.asked == []


def test_a_cache_that_cannot_be_opened_fails_no_volume_and_is_opened_later(lab: Lab) -> None:
    lab.driver.cache = errors.Unreachable("vCenter does not answer")
    lab.driver.do_setup(None)
    lab.driver._events = lab.told.append
    assert lab.clone() == PLAIN
    assert lab.note == "bypass: cache-unavailable"
    lab.driver.cache = lab.cache
    lab.driver._connection.open()
    assert lab.clone() == (None, True)
    assert lab.note == "hit"


@pytest.mark.parametrize("value", ["trve", "maybe", "", "x" * 60_000, "a\n\x1b[2J"])
def test_a_value_that_is_not_understood_is_shown_to_the_user(
    lab: Lab, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    lab.metadata = {"use_image_cache": value}
    assert lab.clone() == PLAIN
    assert lab.cache.images.asked == []
    assert lab.note is not None
    assert lab.note.startswith("bypass: not-understood (use_image_cache of the volume is '")
    assert lab.note.isprintable() and len(lab.note) <= 255
    assert value[:1] in lab.note
    assert lab.told == [events.Bypassed(GROUP, IMAGE_ID, "volume-1", Reason.NOT_UNDERSTOOD)]
    assert all(r.getMessage().isprintable() for r in caplog.records)


def test_a_note_about_another_volume_is_not_passed_on(lab: Lab) -> None:
    lab.metadata = {}
    lab.meta["properties"]["image_cache"] = "failed: image 'x' is empty"
    lab.clone()
    assert lab.meta["properties"] == {}


def test_an_interrupt_passes_through_unchanged(lab: Lab) -> None:
    """An interrupt is not a failure of the cache."""
    lab.cache.images.answer = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        lab.clone()
    assert (lab.driver.plain, lab.note) == ([], None)


def test_a_round_that_fails_does_not_end_the_rounds(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(image_cache_purge_interval=1, image_cache_auto_warm=True)
    lab.driver.check_for_setup_error()
    deadline = time.monotonic() + PATIENCE_S
    while min(lab.cache.housekeeping.begun, lab.cache.warm_up.begun) < 2:
        assert time.monotonic() < deadline, "the rounds ended with the first"
        eventlet.sleep(0.05)  # lets oslo.service's green threads run


def change(driver: Driver, **options: Any) -> None:
    """Edit cinder.conf and send SIGHUP, as an operator does."""
    for name, value in options.items():
        cfg.CONF.set_override(name, value, group=GROUP)
    driver.take_over_settings(cfg.CONF, {})


def test_the_cache_is_switched_off_and_on_while_the_service_runs(lab: Lab) -> None:
    lab.driver._update_volume_stats()
    change(lab.driver, enable_image_cache=False)
    assert lab.clone() == PLAIN
    assert lab.note == "bypass: cache-disabled"
    lab.driver._update_volume_stats()
    assert (lab.driver._stats["image_cache"], lab.cache.closed) == (False, 0)
    assert "cached_images" not in lab.driver._stats
    change(lab.driver, enable_image_cache=True)
    assert lab.clone() == (None, True)
    assert lab.note == "hit"
    lab.driver._update_volume_stats()
    assert lab.driver._stats["image_cache"] is True


def test_the_allowed_ways_to_ask_change_while_the_service_runs(lab: Lab) -> None:
    change(lab.driver, image_cache_opt_in=["always"])
    lab.metadata = {}
    assert lab.clone() == (None, True)


def test_the_rounds_follow_a_changed_interval(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(image_cache_purge_interval=3600)
    lab.driver.check_for_setup_error()
    change(lab.driver, image_cache_purge_interval=1)
    wait_until(
        lambda: min(lab.cache.housekeeping.begun, lab.cache.warm_up.begun) >= 2,
        what="rounds by the new interval",
        sleep=eventlet.sleep,
    )


def test_an_unchanged_setting_does_not_restart_the_interval(lab: Lab) -> None:
    lab.driver.check_for_setup_error()
    loop = lab.driver._housekeeping_loop
    change(lab.driver)
    assert lab.driver._housekeeping_loop is loop


def test_settings_that_change_before_the_rounds_begin_are_taken_over(lab: Lab) -> None:
    change(lab.driver, image_cache_max_count=7)
    assert lab.driver._settings().max_count == 7
    assert lab.driver._housekeeping_loop is None


class Typed(configuration.Configuration):  # type: ignore[misc]  # Cinder is untyped here
    """A section of cinder.conf that may contain one wrong value."""

    wrong = ""

    def __getattr__(self, option: str) -> Any:
        if option == self.wrong:
            raise cfg.ConfigFileValueError(
                f"Value for option {option} from LocationInfo(location=<Locations.user: (4, True)>,"
                f" detail='/etc/cinder/cinder.conf') is not valid: 'often'"
            )
        return super().__getattr__(option)


def wrong_option(lab: Lab, option: str) -> Typed:
    section = Typed(vmdk.vmdk_opts, config_group=GROUP)
    section.wrong = option
    lab.driver.configuration = section
    return section


def test_an_unusable_value_keeps_the_previous_settings(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    before = lab.driver._settings()
    section = wrong_option(lab, "image_cache_age_seconds")
    change(lab.driver, image_cache_max_count=7)
    assert lab.driver._settings() is before
    (line,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert line.getMessage() == (
        "The image cache keeps its previous settings: [vmdk_cache_driver_unit] Value for "
        "option image_cache_age_seconds in /etc/cinder/cinder.conf is not valid: 'often'. Correct "
        "the value, then send SIGHUP to cinder-volume."
    )
    section.wrong = ""
    change(lab.driver)
    assert lab.driver._settings().max_count == 7


def test_an_unusable_value_at_the_start_disables_only_the_cache(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    lab.driver = Driver(configuration=lab.driver.configuration, host="h@b")
    lab.driver.cache = lab.cache
    lab.driver._feedback = Feedback(lab.notes, lab.notes)
    section = wrong_option(lab, "image_cache_age_seconds")
    lab.driver.do_setup(None)
    assert lab.clone() == PLAIN
    assert lab.note == "bypass: cache-unavailable"
    (line,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert "image_cache_age_seconds in /etc/cinder/cinder.conf is not valid" in line.getMessage()
    section.wrong = ""
    change(lab.driver)
    lab.driver._connection.open()
    assert lab.clone() == (None, True)


def test_the_report_to_the_scheduler_lists_the_cache(lab: Lab) -> None:
    lab.driver._update_volume_stats()
    assert lab.driver._stats["extra_provisioned_capacity_gb"] == 7
    assert lab.driver._stats["cached_images"] == as_text([IMAGE_ID])
    assert lab.driver._stats["image_cache_opt_in"] == ["metadata"]


def test_a_second_set_up_closes_the_first_cache(lab: Lab) -> None:
    lab.driver.do_setup(None)
    assert lab.cache.closed == 1
    lab.driver._close_cache()
    assert lab.cache.closed == 2
    lab.driver._close_cache()
    assert lab.cache.closed == 2


class StubSession:
    """The session of Cinder's own driver with vCenter."""

    def __init__(self) -> None:
        self.log_outs = 0

    def logout(self) -> None:
        self.log_outs += 1


def test_a_second_set_up_logs_the_first_session_of_upstream_out(lab: Lab) -> None:
    lab.driver._session = session = StubSession()
    lab.driver.do_setup(None)
    assert session.log_outs == 1


def test_a_service_that_stops_logs_both_sessions_out(lab: Lab) -> None:
    lab.driver._session = session = StubSession()
    service = cinder_service.Service.__new__(cinder_service.Service)
    service.__dict__.update(host="h@b", rpcserver=None, backend_rpcserver=None,
                            cluster_rpcserver=None, coordination=False,
                            tg=threadgroup.ThreadGroup())  # fmt: skip
    service.stop()
    assert (session.log_outs, lab.cache.closed) == (1, 1)


def test_a_set_up_that_upstream_refuses_leaves_no_cache_open(lab: Lab) -> None:
    lab.driver.set_up_fault = exception.InvalidInput(reason="vmware_host_ip")
    with pytest.raises(exception.InvalidInput):
        lab.driver.do_setup(None)
    assert lab.cache.closed == 2


def test_an_images_property_asks_where_the_operator_lets_it(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(image_cache_opt_in=["image"])
    lab.metadata = None  # type: ignore[assignment]  # as Cinder has it for a volume without any
    lab.meta["properties"]["use_image_cache"] = "true"
    assert lab.clone() == (None, True)
    assert lab.note == "hit"


def test_an_image_without_properties_asks_for_nothing(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(image_cache_opt_in=["image"])
    lab.metadata = {}
    del lab.meta["properties"]
    assert lab.clone() == PLAIN
    assert (lab.note, lab.cache.images.asked) == (None, [])


@pytest.mark.parametrize(("opt_in", "asks"), [("volume_type", True), ("image", False)])
def test_a_volume_type_asks_where_the_operator_lets_it(
    make_lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch, opt_in: str, asks: bool
) -> None:
    def extra_specs(volume_type_id: str, key: Any = False) -> Any:
        specs = {"vmware:use_image_cache": "<is> true"}
        return specs if key is False else specs.get(key, False)

    monkeypatch.setattr(volume_types, "get_volume_type_extra_specs", extra_specs)
    lab = make_lab(image_cache_opt_in=[opt_in])
    lab.metadata = {}
    lab.volume_type_id = "type-1"
    lab.clone()
    assert lab.note == ("hit" if asks else None)


def test_the_version_says_which_driver_it_is_and_which_one_it_extends(lab: Lab) -> None:
    ours = importlib.metadata.version("vmdk-cache")
    assert lab.driver.get_version() == f"{ours} (vmdk {vmdk.VMwareVcVmdkDriver.VERSION})"
    lab.driver._update_volume_stats()
    assert lab.driver._stats["driver_version"] == lab.driver.get_version()


def test_the_driver_claims_no_test_system_of_others() -> None:
    assert util.DriverInfo(ImageCacheVmdkDriver).ci_wiki_name is None


def test_the_capabilities_include_the_extra_spec_of_the_cache(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    lab.driver.init_capabilities()
    assert lab.driver.capabilities["vendor_prefix"] == "vmware"
    told = lab.driver.capabilities["properties"]["vmware:use_image_cache"]
    assert (told["title"], told["type"]) == ("Use the image cache", "boolean")
    assert "thin_provisioning" in lab.driver.capabilities["properties"]
    assert "must start with vendor prefix" not in caplog.text


@pytest.mark.parametrize(
    ("spec", "passes_with", "passes_without"),
    [
        ({"image_cache": "<is> True"}, True, False),
        ({"capabilities:image_cache": "<is> True"}, True, False),
        ({"image_cache": "<is> False"}, False, True),
        # A requirement for the driver, not for the scheduler: every backend passes.
        ({"vmware:use_image_cache": "<is> True"}, True, True),
    ],
    ids=str,
)
def test_a_volume_type_asks_for_a_backend_with_a_cache(
    make_lab: Callable[..., Lab], spec: dict[str, str], passes_with: bool, passes_without: bool
) -> None:
    def passes(enabled: bool) -> bool:
        driver = make_lab(enable_image_cache=enabled).driver
        driver._update_volume_stats()
        state = SimpleNamespace(capabilities=driver._stats)
        asked = {"resource_type": {"extra_specs": spec}}
        return bool(CapabilitiesFilter().backend_passes(state, asked))

    assert (passes(True), passes(False)) == (passes_with, passes_without)


def test_reports_of_upstream_are_passed_on(lab: Lab) -> None:
    lab.driver._update_volume_stats()
    assert lab.driver._stats["vendor_name"] == "VMware"
    assert lab.driver._stats["storage_protocol"] == "vmdk"


def test_a_ledger_is_opened_and_closed(
    make_lab: Callable[..., Lab], tmp_path: pathlib.Path
) -> None:
    lab = make_lab(image_cache_ledger=f"{tmp_path}/ledger.sqlite")
    lab.driver.do_setup(None)
    assert lab.driver._ledger is not None
    lab.cache.images.answer = errors.NotCacheable(Reason.NO_ROOM, "no room")
    lab.clone()
    assert [count.kind for count in lab.driver._ledger.counts()] == ["bypass"]
    lab.driver._close_cache()
    assert lab.driver._ledger is None
    assert (tmp_path / "ledger.sqlite").exists()


def test_the_trace_of_a_defect_is_there_for_debugging(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    lab.cache.images.answer = RuntimeError("a defect")
    with caplog.at_level("DEBUG"):
        lab.clone()
    assert any(r.levelname == "DEBUG" and r.exc_info for r in caplog.records)


def test_a_driver_reports_to_users_from_its_start(tmp_path: pathlib.Path) -> None:
    cfg.CONF.set_override("connection", no_database(tmp_path), group="database")
    settings = configuration.Configuration(vmdk.vmdk_opts, config_group=GROUP)
    try:
        assert isinstance(Driver(configuration=settings, host="h@b")._feedback, Feedback)
    finally:
        cfg.CONF.clear_override("connection", group="database")


class Row:
    """The volume in Cinder's database; ``status`` None: there is none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.status: str | None = "creating"
        monkeypatch.setattr(volume_objects.Volume, "get_by_id", self._get)

    def _get(self, context: Any, volume_id: str) -> Any:
        if self.status is None:
            raise exception.VolumeNotFound(volume_id=volume_id)
        return SimpleNamespace(status=self.status)

    def delete(self) -> None:
        self.status = None


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> Row:
    return Row(monkeypatch)


def test_a_volume_that_was_deleted_in_the_cache_is_not_imported_and_not_tried_again(
    lab: Lab, row: Row, caplog: pytest.LogCaptureFixture
) -> None:
    lab.cache.images.answer = errors.VolumeDeleted("volume volume-1 was deleted")
    with caplog.at_level("INFO"), pytest.raises(exception.VolumeNotFound):
        lab.clone()
    assert (lab.driver.plain, lab.note, lab.told) == ([], None, [])
    (line,) = (r for r in caplog.records if r.name == "vmdk_cache.cinder.volume_from_image")
    assert (line.levelname, "volume-1 was deleted" in line.getMessage()) == ("INFO", True)


@pytest.mark.parametrize("status", ["deleting", None])
def test_a_volume_that_is_deleted_when_the_cache_fails_is_not_imported(
    lab: Lab, row: Row, status: str | None
) -> None:
    lab.cache.images.answer = errors.NoSpace("full")
    row.status = status
    with pytest.raises(exception.VolumeNotFound):
        lab.clone()
    assert (lab.driver.plain, lab.note, lab.told) == ([], None, [])


def test_a_volume_that_is_deleted_while_it_is_imported_is_removed(lab: Lab, row: Row) -> None:
    lab.cache.images.answer = errors.NoSpace("full")
    lab.driver.during_plain = row.delete
    with pytest.raises(exception.VolumeNotFound):
        lab.clone()
    assert lab.driver.deleted == ["volume-1"]


def test_a_deleted_volume_that_cannot_be_removed_is_named_and_not_tried_again(
    lab: Lab, row: Row, caplog: pytest.LogCaptureFixture
) -> None:
    lab.cache.images.answer = errors.NoSpace("full")
    lab.driver.during_plain = row.delete
    lab.driver.delete_fault = RuntimeError("vCenter is away")
    with pytest.raises(exception.VolumeNotFound):
        lab.clone()
    (line,) = (m for m in caplog.messages if "could not be removed" in m)
    assert "volume-volume-1" in line
    assert "vCenter is away" in line


def test_a_volume_that_is_still_wanted_after_its_import_stays(lab: Lab, row: Row) -> None:
    lab.cache.images.answer = errors.NoSpace("full")
    assert lab.clone() == PLAIN
    assert lab.driver.deleted == []


def test_an_import_that_fails_over_a_deletion_is_not_tried_again(lab: Lab, row: Row) -> None:
    lab.cache.images.answer = errors.NoSpace("full")
    lab.driver.during_plain = row.delete
    lab.driver.plain_fault = exception.ImageCopyFailure(reason="the VM is gone")
    with pytest.raises(exception.VolumeNotFound):
        lab.clone()
    assert lab.driver.deleted == []


def test_a_volume_that_did_not_ask_is_upstreams_alone(lab: Lab, row: Row) -> None:
    lab.metadata = {}
    row.delete()
    assert lab.clone() == PLAIN
    assert lab.driver.deleted == []


@pytest.fixture
def default_workers() -> Iterator[None]:
    yield
    cfg.CONF.clear_default(OPTION)


@pytest.mark.parametrize("enabled", [True, False])
def test_a_service_has_more_workers_only_if_its_cache_is_enabled(
    make_lab: Callable[..., Lab], default_workers: None, enabled: bool
) -> None:
    cfg.CONF.register_opt(Workers().option)
    cfg.CONF.clear_default(OPTION)
    make_lab(enable_image_cache=enabled)
    assert (cfg.CONF[OPTION] > 64) == enabled


def test_many_failures_do_not_become_many_imports(lab: Lab, row: Row) -> None:
    lab.cache.images.answer = errors.NoSpace("full")
    guard, go_on = threading.Lock(), threading.Event()
    at_a_time, peak, begun = 0, 0, 0

    def take_time() -> None:
        nonlocal at_a_time, peak, begun
        with guard:
            at_a_time, begun = at_a_time + 1, begun + 1
            peak = max(peak, at_a_time)
            if begun == 64:
                go_on.set()
        assert go_on.wait(PATIENCE_S)
        with guard:
            at_a_time -= 1

    lab.driver.during_plain = take_time
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        made = [one.result() for one in [pool.submit(lab.clone) for _ in range(100)]]
    assert made == [PLAIN] * 100
    assert (peak, begun) == (64, 100)


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("is_deleted", [True, False])
def test_a_volume_that_is_deleted_while_its_import_waits_is_imported_or_another_is_not(
    lab: Lab, row: Row, asks: bool, is_deleted: bool
) -> None:
    lab.cache.images.answer = errors.NoSpace("full")
    lab.metadata = {"use_image_cache": str(asks)}
    workers = lab.driver._workers
    with contextlib.ExitStack() as imports, concurrent.futures.ThreadPoolExecutor(1) as pool:
        for _ in range(workers.usual):
            imports.enter_context(workers.importing())
        waiting = pool.submit(lab.clone)
        turns: Any = workers._importing
        wait_until(lambda: turns._cond._waiters, what="the import to wait")
        if is_deleted:
            row.delete()
        imports.close()
        if is_deleted:
            with pytest.raises(exception.VolumeNotFound):
                waiting.result(PATIENCE_S)
        else:
            assert waiting.result(PATIENCE_S) == PLAIN
    assert len(lab.driver.plain) == (0 if is_deleted else 1)
