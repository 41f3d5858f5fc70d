"""What the user is told: a note on the volume of how it was made, and why one could not be made.

The note is the key ``image_cache`` of the volume's metadata (``properties`` in ``openstack volume
show``): ``hit``, ``miss``, ``bypass: <reason>`` or ``failed: <cause>``; docs/feedback.rst says what
each means. The last attempt at a volume has the last word, whatever backend an earlier one was on.

Volume metadata stays with the volume. Image metadata does not: Cinder copies it to snapshots and
clones, and sends it to Glance as properties of an image that is made of the volume, where a
protected property makes Glance refuse the image; and it refuses a second value of a key.

One key is written, not the whole metadata. A model update of a driver and ``Volume.save()`` both
replace the whole by what the volume had when its object was read, and delete what the user has set
since then; a volume may wait for hours.

Earlier versions wrote the note to image metadata, so images made of volumes may have a property of
that name. It is removed from what Cinder copies to the next volume.

User messages (``openstack volume message list``) are Cinder's: it stores ids, not text
(``cinder.message.message_field``), so a message is a pair of an existing action and an existing
detail, and this module picks the nearest one. They are of failures: a volume that was made without
the cache has its note.

Telling is an extra; it never raises, whatever Cinder's database does.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, Protocol

from cinder.db import api as db_api
from cinder.message import message_field
from oslo_log import log as logging

from vmdk_cache.errors import ImageError, ImageFormatError, VolumeTooSmall
from vmdk_cache.quoting import sentence

LOG = logging.getLogger(__name__)

_Action = message_field.Action
_Detail = message_field.Detail


class UserMessage(NamedTuple):
    """A pair that Cinder's API can show: (id, text) of an action and of a detail."""

    action: tuple[str, str]
    detail: tuple[str, str]


class MessageApi(Protocol):
    """The part of ``cinder.message.api.API`` that is used."""

    def create(
        self, context: Any, action: Any, *, resource_uuid: str, detail: Any, level: str
    ) -> None: ...


OUTCOME_KEY = "image_cache"
#: Characters of a note: as many as Cinder's API lets a user write there.
NOTE_LENGTH = 255
_OUR_NOTES = re.compile(r"hit|miss|bypass: [a-z-]+( \(.*)?|failed: .*")

_FORMAT = UserMessage(_Action.COPY_IMAGE_TO_VOLUME, _Detail.IMAGE_FORMAT_UNACCEPTABLE)
_TOO_SMALL = UserMessage(_Action.COPY_IMAGE_TO_VOLUME, _Detail.NOT_ENOUGH_SPACE_FOR_IMAGE)
# Nothing in Cinder says "the bytes are not those that were promised"; SIGNATURE_VERIFICATION_FAILED
# would send the user looking for a signature that the image need not have.
_FAILED = UserMessage(_Action.COPY_IMAGE_TO_VOLUME, _Detail.DRIVER_FAILED_CREATE)


def message_for(error: ImageError) -> UserMessage:
    """The message that comes nearest to ``error``."""
    if isinstance(error, ImageFormatError):
        return _FORMAT
    return _TOO_SMALL if isinstance(error, VolumeTooSmall) else _FAILED


def forget_earlier_note(image_meta: dict[str, Any]) -> None:
    """Remove a note that an earlier version left as a property of the image.

    Cinder copies this very dict into the volume's image metadata later. A property of that name
    with any other value belongs to the image's owner and stays.
    """
    properties = image_meta.get("properties") or {}
    if is_note(str(properties.get(OUTCOME_KEY))):
        del properties[OUTCOME_KEY]


def is_note(text: str) -> bool:
    """Whether the value of a key ``image_cache`` is a note of ours."""
    return _OUR_NOTES.fullmatch(text) is not None


class Feedback:
    """Tells users through Cinder's database.

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
        action, detail = message_for(error)
        try:
            self._messages.create(
                context, action, resource_uuid=volume_id, detail=detail, level="ERROR"
            )
        except Exception as exc:
            # The volume's own error is what matters and is on its way: keep it.
            LOG.warning("Volume %s: no user message could be left: %s", volume_id, sentence(exc))

    def outcome(self, context: Any, volume_id: str, text: str) -> None:
        """Note on the volume what became of the request for it; never raises.

        A volume whose user gave the key another meaning keeps that, and gets no note.
        """
        # ASCII, for not every database takes all of Unicode.
        plain = text.encode("ascii", "backslashreplace").decode()
        text = plain if len(plain) <= NOTE_LENGTH else f"{plain[: NOTE_LENGTH - 3]}..."
        try:
            before = self._database.volume_metadata_get(context, volume_id).get(OUTCOME_KEY)
            if before is not None and not is_note(before):
                LOG.info("Volume %s has a property %s of its own: no note", volume_id, OUTCOME_KEY)
                return
            self._database.volume_metadata_update(context, volume_id, {OUTCOME_KEY: text}, False)
        except Exception as exc:
            LOG.warning(
                "Volume %s: could not note image_cache=%s: %s", volume_id, text, sentence(exc)
            )

    def withdraw(self, context: Any, volume_id: str) -> None:
        """Remove the note of how the volume was made before; never raises."""
        try:
            if is_note(self._database.volume_metadata_get(context, volume_id).get(OUTCOME_KEY, "")):
                self._database.volume_metadata_delete(context, volume_id, OUTCOME_KEY)
        except Exception as exc:
            LOG.warning("Volume %s: the note of its earlier image stays: %s",
                        volume_id, sentence(exc))  # fmt: skip
