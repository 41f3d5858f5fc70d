"""Every error leaves a message that Cinder's API can show, and reporting never fails."""

from __future__ import annotations

import copy
import inspect
import pathlib
import re
import uuid
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from cinder import objects
from cinder.context import RequestContext
from cinder.db import api as db_api
from cinder.image import image_utils
from cinder.message import api, message_field
from oslo_config import cfg
from oslo_db.sqlalchemy import enginefacade

from vmdk_cache import errors
from vmdk_cache.cache.events import Reason
from vmdk_cache.cinder.feedback import Feedback, detail_of, forget_earlier_note

try:
    from cinder.db import api as database
    from cinder.db import models
except ImportError:  # before Cinder 29
    from cinder.db.sqlalchemy import api as database
    from cinder.db.sqlalchemy import models

DOCS = pathlib.Path(__file__).parents[3] / "docs"
GUIDE = DOCS / "feedback.rst"
UPGRADE = DOCS / "upgrade.rst"

EVERY_ERROR = [
    error_class
    for _, error_class in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error_class, errors.VmdkCacheError)
]


class Messages:
    """Cinder's message API: stores messages, or fails as with a lost database."""

    def __init__(self, error: Exception | None = None) -> None:
        self.kept: list[dict[str, Any]] = []
        self._error = error

    def create(
        self, context: Any, action: Any, *, resource_uuid: str, detail: Any, level: str
    ) -> None:
        if self._error:
            raise self._error
        self.kept.append(
            {"action": action, "detail": detail, "volume": resource_uuid, "level": level}
        )


@pytest.mark.parametrize("error_class", EVERY_ERROR, ids=lambda c: c.__name__)
def test_no_error_ends_as_an_unknown_error(error_class: type[errors.VmdkCacheError]) -> None:
    error = (
        error_class("why", "text") if error_class is errors.NotCacheable else error_class("text")
    )
    detail = detail_of(error)
    assert detail in message_field.Detail.ALL
    assert detail is not message_field.Detail.UNKNOWN_ERROR


def test_an_image_of_another_format_is_reported_as_such() -> None:
    messages = Messages()
    Feedback(messages).volume_failed(None, "v-1", errors.ImageFormatError("qcow2"))
    assert messages.kept == [
        {
            "action": message_field.Action.COPY_IMAGE_TO_VOLUME,
            "detail": message_field.Detail.IMAGE_FORMAT_UNACCEPTABLE,
            "volume": "v-1",
            "level": "ERROR",
        }
    ]


def test_a_lost_database_does_not_hide_the_volumes_own_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Feedback(Messages(RuntimeError("database is gone"))).volume_failed(
        None, "v-1", errors.ImageCorrupt("full")
    )
    assert "v-1" in caplog.text
    assert "database is gone" in caplog.text


def test_cinders_message_api_takes_the_arguments_that_are_sent() -> None:
    inspect.signature(api.API.create).bind(
        None, None, message_field.Action.ALL[0], resource_uuid="v", detail=None, level="ERROR"
    )


@pytest.fixture
def context(tmp_path: pathlib.Path) -> Iterator[Any]:
    """The context of a user without the admin role, with Cinder's own new database."""
    manager = enginefacade.transaction_context()
    manager.configure(connection=f"sqlite:///{tmp_path}/cinder.sqlite", sqlite_synchronous=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SQLAlchemy, on Cinder's tables
        models.BASE.metadata.create_all(manager.writer.get_engine())
    put_back = database.main_context_manager.patch_factory(manager)
    yield RequestContext("user-1", "project-1", is_admin=False)
    put_back()
    manager.writer.get_engine().dispose()


def volume_with_id(context: Any) -> str:
    values = {"size": 1, "project_id": "project-1", "volume_type_id": str(uuid.uuid4())}
    volume_id: str = db_api.volume_create(context, {**values, "status": "creating"}).id
    return volume_id


def notes(context: Any, volume_id: str) -> dict[str, str]:
    found: dict[str, str] = db_api.volume_metadata_get(context, volume_id)
    return found


def test_a_note_is_what_the_last_attempt_came_to(context: Any) -> None:
    """Otherwise a volume that was tried on a second backend would have the first one's note."""
    feedback, volume_id = Feedback(Messages()), volume_with_id(context)
    for text in ("bypass: fault", "failed: image 'x' is empty", "hit", "miss"):
        feedback.outcome(context, volume_id, text)
        assert notes(context, volume_id) == {"image_cache": text}


def test_a_property_that_the_user_sets_while_the_volume_is_made_is_lost(context: Any) -> None:
    """``openstack volume set --property`` does this; the volume may wait for hours."""
    feedback, volume_id = Feedback(Messages()), volume_with_id(context)
    db_api.volume_metadata_update(context, volume_id, {"use_image_cache": "true"}, False)
    volume = objects.Volume.get_by_id(context, volume_id)  # as the driver got it
    db_api.volume_metadata_update(context, volume_id, {"colour": "red"}, False)
    feedback.outcome(context, volume_id, "hit")
    db_api.volume_metadata_update(context, volume_id, {"size": "small"}, False)
    volume.status = "available"
    volume.save()
    expected = {"use_image_cache": "true", "colour": "red", "image_cache": "hit", "size": "small"}
    assert notes(context, volume_id) == expected


def test_a_note_about_an_earlier_image_stays_or_takes_the_users_own_with_it(context: Any) -> None:
    feedback, volume_id = Feedback(Messages()), volume_with_id(context)
    feedback.withdraw(context, volume_id)
    db_api.volume_metadata_update(context, volume_id, {"colour": "red"}, False)
    feedback.outcome(context, volume_id, "hit")
    feedback.withdraw(context, volume_id)
    assert notes(context, volume_id) == {"colour": "red"}
    db_api.volume_metadata_update(context, volume_id, {"image_cache": "ours"}, False)
    feedback.withdraw(context, volume_id)
    assert notes(context, volume_id) == {"colour": "red", "image_cache": "ours"}


def test_a_note_is_image_metadata_which_travels(context: Any) -> None:
    feedback, volume_id = Feedback(Messages()), volume_with_id(context)
    db_api.volume_glance_metadata_bulk_create(context, volume_id, {"hw_disk_bus": "scsi"})
    feedback.outcome(context, volume_id, "hit")
    rows = db_api.volume_glance_metadata_get(context, volume_id)
    assert {row.key: row.value for row in rows} == {"hw_disk_bus": "scsi"}


def test_a_property_of_that_name_of_the_users_own_is_overwritten(context: Any) -> None:
    feedback, volume_id = Feedback(Messages()), volume_with_id(context)
    db_api.volume_metadata_update(context, volume_id, {"image_cache": "ours"}, False)
    feedback.outcome(context, volume_id, "hit")
    assert notes(context, volume_id) == {"image_cache": "ours"}


def test_an_image_made_of_a_cached_volume_passes_its_note_on() -> None:
    meta = {"properties": {"image_cache": "bypass: no-room", "hw_disk_bus": "scsi"}}
    forget_earlier_note(meta)
    assert meta == {"properties": {"hw_disk_bus": "scsi"}}


def test_an_image_with_a_property_of_that_name_loses_it() -> None:
    meta = {"properties": {"image_cache": "the user's own"}}
    forget_earlier_note(meta)
    assert meta == {"properties": {"image_cache": "the user's own"}}


def test_a_note_of_an_earlier_version_goes_into_new_images_after_the_upgrade() -> None:
    (option,) = re.findall(r"^ +(reserved_image_namespaces) = (.*)$", UPGRADE.read_text(), re.M)
    cfg.CONF.set_override(option[0], option[1].split(","))
    try:
        sent = image_utils.filter_out_reserved_namespaces_metadata(
            {"name": "copy", "properties": {"image_cache": "hit", "hw_disk_bus": "scsi"}}
        )
    finally:
        cfg.CONF.clear_override(option[0])
    assert sent == {"name": "copy", "properties": {"hw_disk_bus": "scsi"}}


def test_the_volume_has_the_cause_of_a_failure(context: Any) -> None:
    feedback, volume_id = Feedback(Messages()), volume_with_id(context)
    cause = "image 'x' is a qcow2 image, not a VMDK: convert it"
    feedback.volume_failed(context, volume_id, errors.ImageFormatError(cause))
    assert notes(context, volume_id) == {"image_cache": f"failed: {cause}"}


@pytest.mark.parametrize("length", [254, 255, 256, 60_000])
def test_a_note_is_cut_at_what_cinder_lets_users_write(context: Any, length: int) -> None:
    feedback, volume_id = Feedback(Messages()), volume_with_id(context)
    feedback.outcome(context, volume_id, "x" * length)
    note = notes(context, volume_id)["image_cache"]
    assert note == ("x" * length if length <= 255 else "x" * 252 + "...")


def test_a_note_has_no_character_that_a_database_may_refuse(context: Any) -> None:
    feedback, volume_id = Feedback(Messages()), volume_with_id(context)
    feedback.outcome(context, volume_id, "failed: '\U0001f4bf\u00e9'")
    assert notes(context, volume_id) == {"image_cache": "failed: '\\U0001f4bf\\xe9'"}


@pytest.mark.parametrize(
    "text",
    [
        "hit",
        "miss",
        *(f"bypass: {reason}" for reason in Reason),
        "bypass: not-understood (use_image_cache of the volume is 'trve': set it to true or false)",
        "bypass: not-understood (use_image_cache of the volume is 'x...",
        "failed: image 'x' is a qcow2 image",
    ],
)
def test_each_of_our_notes_is_known_again(text: str) -> None:
    meta = {"properties": {"image_cache": text}}
    forget_earlier_note(meta)
    assert meta == {"properties": {}}


@pytest.mark.parametrize("meta", [{}, {"properties": None}, {"properties": {}}])
def test_an_image_without_properties_has_nothing_to_forget(meta: dict[str, Any]) -> None:
    before = copy.deepcopy(meta)
    forget_earlier_note(meta)
    assert meta == before


def test_a_note_that_cannot_be_written_fails_no_volume(
    context: Any, caplog: pytest.LogCaptureFixture
) -> None:
    Feedback(Messages()).outcome(context, str(uuid.uuid4()), "hit")  # no such volume
    (line,) = (r.getMessage() for r in caplog.records if r.levelname == "WARNING")
    assert "image_cache=hit" in line


def test_a_note_that_cannot_be_removed_fails_no_reimage(
    context: Any, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = str(uuid.uuid4())
    Feedback(Messages()).withdraw(context, nowhere)
    (line,) = (r.getMessage() for r in caplog.records if r.levelname == "WARNING")
    assert nowhere in line


def test_a_volume_that_is_too_small_is_reported() -> None:
    detail = detail_of(errors.VolumeTooSmall("2 GiB"))
    assert detail is message_field.Detail.NOT_ENOUGH_SPACE_FOR_IMAGE


@pytest.mark.parametrize(
    "error_class", [errors.ImageFormatError, errors.VolumeTooSmall, errors.ImageCorrupt]
)
def test_the_messages_are_quoted_to_users(error_class: type[errors.ImageError]) -> None:
    text = detail_of(error_class("why"))[1]
    assert " ".join(text.split()) in " ".join(GUIDE.read_text().split())


def test_every_reason_is_explained_to_users() -> None:
    explained = re.findall(r"^``bypass: ([a-z-]+)``", GUIDE.read_text(), flags=re.MULTILINE)
    assert sorted(explained) == sorted(Reason)


def test_other_bytes_are_not_reported_as_too_many() -> None:
    detail = detail_of(errors.ImageCorrupt("other bytes"))
    assert detail is message_field.Detail.DRIVER_FAILED_CREATE
