"""Feedback to users: a note on the volume about how it was created, or why that failed.

The note is the key ``image_cache`` of the volume's metadata (``properties`` in ``openstack volume
show``): ``hit``, ``miss``, ``bypass: <reason>`` or ``failed: <cause>``; docs/feedback.rst explains
each. Each attempt overwrites the note of an earlier one, also of one on another backend.

Volume metadata stays with the volume. Image metadata does not: Cinder copies it to snapshots and
clones, and to Glance as properties of an image that is made from the volume, which Glance refuses
if the property is protected; and Cinder refuses a second value of a key.

Only one key is written, not the whole metadata. A driver's model update and ``Volume.save()`` both
replace all metadata with the state at the time when the object was read, which deletes what the
user has set since then; a volume may wait for hours.

Earlier versions wrote the note to image metadata, so images made from volumes may have a property
of that name. It is removed from what Cinder copies to the next volume.

User messages (``openstack volume message list``) belong to Cinder, which stores ids, not text
(``cinder.message.message_field``). A message is a pair of an existing action and an existing
detail. Messages report failures; a bypass has only its note.

Feedback is optional: it never raises, whatever Cinder's database does.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

from cinder.db import api as db_api
from cinder.message import message_field
from oslo_log import log as logging

from vmdk_cache.errors import ImageError, ImageFormatError, VolumeTooSmall
from vmdk_cache.quoting import sentence

LOG = logging.getLogger(__name__)


class MessageApi(Protocol):
    """The part of ``cinder.message.api.API`` that is used."""

    def create(
        self, context: Any, action: Any, *, resource_uuid: str, detail: Any, level: str
    ) -> None: ...


OUTCOME_KEY = "image_cache"
#: Maximum length of a note: Cinder's limit for metadata values.
NOTE_LENGTH = 255
_OUR_NOTES = re.compile(r"hit|miss|bypass: [a-z-]+( \(.*)?|failed: .*")


def detail_of(error: ImageError) -> tuple[str, str]:
    """The detail, (id, text), of Cinder's user messages that describes ``error`` best."""
    # Cinder has no detail for "the bytes differ from the hash"; SIGNATURE_VERIFICATION_FAILED would
    # make users look for a signature that the image may not have.
    detail: tuple[str, str] = message_field.Detail.DRIVER_FAILED_CREATE
    if isinstance(error, ImageFormatError):
        detail = message_field.Detail.IMAGE_FORMAT_UNACCEPTABLE
    elif isinstance(error, VolumeTooSmall):
        detail = message_field.Detail.NOT_ENOUGH_SPACE_FOR_IMAGE
    return detail


def forget_earlier_note(image_meta: dict[str, Any]) -> None:
    """Remove a note that an earlier version left as a property of the image.

    Cinder later copies this dict into the volume's image metadata. A property of that name with any
    other value belongs to the image's owner and stays.
    """
    properties = image_meta.get("properties") or {}
    if is_note(str(properties.get(OUTCOME_KEY))):
        del properties[OUTCOME_KEY]


def is_note(text: str) -> bool:
    """Whether the value of the key ``image_cache`` is one of our notes."""
    return _OUR_NOTES.fullmatch(text) is not None


class Feedback:
    """Gives feedback to users through Cinder's database.

    :param messages: ``cinder.message.api.API()``
    :param database: ``cinder.db.api``
    """

    def __init__(self, messages: MessageApi, database: Any = db_api) -> None:
        self._messages = messages
        self._database = database

    def volume_failed(self, context: Any, volume_id: str, error: ImageError) -> None:
        """Leave a message of level ERROR on the volume, and note the cause; never raises.

        :param context: Cinder's request context; the message belongs to its project
        """
        self.outcome(context, volume_id, f"failed: {error}")
        try:
            self._messages.create(
                context,
                message_field.Action.COPY_IMAGE_TO_VOLUME,
                resource_uuid=volume_id,
                detail=detail_of(error),
                level="ERROR",
            )
        except Exception as exc:
            # The volume's own error matters more and follows.
            LOG.warning("Volume %s: could not create a user message: %s", volume_id, sentence(exc))

    def outcome(self, context: Any, volume_id: str, text: str) -> None:
        """Note the outcome of the request on the volume; never raises.

        If the user already uses the key for something else, the volume gets no note.
        """
        # ASCII, because not every database accepts all of Unicode.
        plain = text.encode("ascii", "backslashreplace").decode()
        text = plain if len(plain) <= NOTE_LENGTH else f"{plain[: NOTE_LENGTH - 3]}..."
        try:
            before = self._database.volume_metadata_get(context, volume_id).get(OUTCOME_KEY)
            if before is not None and not is_note(before):
                LOG.info(
                    "Volume %s already has a property %s: no note is written",
                    volume_id,
                    OUTCOME_KEY,
                )
                return
            self._database.volume_metadata_update(context, volume_id, {OUTCOME_KEY: text}, False)
        except Exception as exc:
            LOG.warning(
                "Volume %s: could not note image_cache=%s: %s", volume_id, text, sentence(exc)
            )

    def withdraw(self, context: Any, volume_id: str) -> None:
        """Remove the note of an earlier creation; never raises."""
        try:
            if is_note(self._database.volume_metadata_get(context, volume_id).get(OUTCOME_KEY, "")):
                self._database.volume_metadata_delete(context, volume_id, OUTCOME_KEY)
        except Exception as exc:
            LOG.warning("Volume %s: could not remove the note of its earlier image: %s",
                        volume_id, sentence(exc))  # fmt: skip
