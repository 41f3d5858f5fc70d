"""Every error leaves a message that Cinder's API can show, and telling never fails."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from cinder import exception
from cinder.message import api, message_field

from vmdk_cache import errors
from vmdk_cache.cinder.feedback import Feedback, message_for

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


def test_cinders_database_takes_the_arguments_that_are_sent() -> None:
    inspect.signature(Feedback(Messages())._database.volume_glance_metadata_bulk_create).bind(
        None, "v-1", {"image_cache": "hit"}
    )


def test_cinders_message_api_takes_the_arguments_that_are_sent() -> None:
    inspect.signature(api.API.create).bind(
        None, None, message_field.Action.ALL[0], resource_uuid="v", detail=None, level="ERROR"
    )


class Database:
    """``cinder.db.api``, as far as a volume's image metadata goes: a key is written once."""

    def __init__(self) -> None:
        self.metadata: dict[str, dict[str, str]] = {}

    def volume_glance_metadata_bulk_create(
        self, context: Any, volume_id: str, metadata: dict[str, str]
    ) -> None:
        kept = self.metadata.setdefault(volume_id, {})
        for key, value in metadata.items():
            if kept.setdefault(key, value) != value:
                raise exception.GlanceMetadataExists(key=key, volume_id=volume_id)


def test_the_user_can_read_how_the_volume_was_made() -> None:
    database = Database()
    Feedback(Messages(), database).outcome(None, "v-1", {"properties": {}}, "hit")
    assert database.metadata == {"v-1": {"image_cache": "hit"}}


def test_a_second_attempt_at_a_volume_does_not_fail_on_the_first_ones_note() -> None:
    database = Database()
    feedback = Feedback(Messages(), database)
    feedback.outcome(None, "v-1", {}, "bypass: no-space")
    feedback.outcome(None, "v-1", {"properties": None}, "hit")
    assert database.metadata == {"v-1": {"image_cache": "bypass: no-space"}}


def test_an_image_with_a_property_of_that_name_can_still_become_a_volume() -> None:
    database = Database()
    meta = {"properties": {"image_cache": "the user's own"}}
    Feedback(Messages(), database).outcome(None, "v-1", meta, "hit")
    database.volume_glance_metadata_bulk_create(None, "v-1", meta["properties"])
    assert database.metadata["v-1"] == meta["properties"]
