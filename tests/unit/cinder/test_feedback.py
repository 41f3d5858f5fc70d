"""Every error leaves a message that Cinder's API can show, and telling never fails."""

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
from cinder.context import RequestContext
from cinder.db import api as db_api
from cinder.message import api, message_field
from oslo_db.sqlalchemy import enginefacade

from vmdk_cache import errors
from vmdk_cache.cache.events import Reason
from vmdk_cache.cinder.feedback import Feedback, forget_earlier_note, message_for

try:
    from cinder.db import api as database
    from cinder.db import models
except ImportError:  # before Cinder 29
    from cinder.db.sqlalchemy import api as database
    from cinder.db.sqlalchemy import models

GUIDE = pathlib.Path(__file__).parents[3] / "docs" / "feedback.rst"

EVERY_ERROR = [
    error_class
    for _, error_class in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error_class, errors.VmdkCacheError)
]


class Messages:
    """Cinder's message API: keeps what it is given, or fails as a lost database does."""

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
    message = message_for(error)
    assert message.action in message_field.Action.ALL
    assert message.detail in message_field.Detail.ALL
    assert message.detail is not message_field.Detail.UNKNOWN_ERROR


def test_an_image_of_another_format_is_said_to_be_one() -> None:
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
        None, "v-1", errors.NoSpace("full")
    )
    assert "v-1" in caplog.text
    assert "database is gone" in caplog.text


def test_cinders_message_api_takes_the_arguments_that_are_sent() -> None:
    inspect.signature(api.API.create).bind(
        None, None, message_field.Action.ALL[0], resource_uuid="v", detail=None, level="ERROR"
    )


@pytest.fixture
def context(tmp_path: pathlib.Path) -> Iterator[Any]:
    """Of a user who is no administrator, with Cinder's own database, new, behind it."""
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
    return {row.key: row.value for row in db_api.volume_glance_metadata_get(context, volume_id)}


def test_a_note_is_what_the_last_attempt_came_to(context: Any) -> None:
    """Cinder's own bulk_create takes one value of a key for good: a volume that was tried on a
    second backend would tell of the first."""
    feedback, volume_id = Feedback(Messages()), volume_with_id(context)
    feedback.outcome(context, volume_id, {"properties": {}}, "bypass: fault")
    assert notes(context, volume_id) == {"image_cache": "bypass: fault"}
    feedback.outcome(context, volume_id, {"properties": None}, "hit")
    assert notes(context, volume_id) == {"image_cache": "hit"}


def test_an_image_made_of_a_cached_volume_does_not_pass_its_note_on(context: Any) -> None:
    feedback, volume_id = Feedback(Messages()), volume_with_id(context)
    meta = {"properties": {"image_cache": "bypass: no-room", "hw_disk_bus": "scsi"}}
    forget_earlier_note(meta)
    feedback.outcome(context, volume_id, meta, "miss")
    # As Cinder does once the volume is there (CreateVolumeFromSpecTask).
    db_api.volume_glance_metadata_bulk_create(context, volume_id, meta["properties"])
    assert notes(context, volume_id) == {"image_cache": "miss", "hw_disk_bus": "scsi"}


def test_an_image_with_a_property_of_that_name_can_still_become_a_volume(context: Any) -> None:
    feedback, volume_id = Feedback(Messages()), volume_with_id(context)
    meta = {"properties": {"image_cache": "the user's own"}}
    forget_earlier_note(meta)
    feedback.outcome(context, volume_id, meta, "hit")
    db_api.volume_glance_metadata_bulk_create(context, volume_id, meta["properties"])
    assert notes(context, volume_id) == {"image_cache": "the user's own"}


@pytest.mark.parametrize("text", ["hit", "miss", *(f"bypass: {reason}" for reason in Reason)])
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
    Feedback(Messages()).outcome(context, str(uuid.uuid4()), {}, "hit")  # no such volume
    (line,) = (r.getMessage() for r in caplog.records if r.levelname == "WARNING")
    assert "image_cache=hit" in line


def test_a_volume_that_is_too_small_is_said_to_be() -> None:
    detail = message_for(errors.VolumeTooSmall("2 GiB")).detail
    assert detail is message_field.Detail.NOT_ENOUGH_SPACE_FOR_IMAGE


@pytest.mark.parametrize(
    "error_class", [errors.ImageFormatError, errors.VolumeTooSmall, errors.ImageCorrupt]
)
def test_the_messages_are_quoted_to_users(error_class: type[errors.ImageError]) -> None:
    text = message_for(error_class("why")).detail[1]
    assert " ".join(text.split()) in " ".join(GUIDE.read_text().split())


def test_every_reason_is_explained_to_users() -> None:
    explained = re.findall(r"^``bypass: ([a-z-]+)``", GUIDE.read_text(), flags=re.MULTILINE)
    assert sorted(explained) == sorted(Reason)
