"""What the user is told: a note on the volume of how it was made, and why one could not be made.

The note stands as ``image_cache`` in the volume's image metadata (``openstack volume show``):
``hit``, ``miss`` or ``bypass: <reason>``; docs/feedback.rst says what each means. The last attempt
at a volume has the last word, whatever backend an earlier one was on.

Cinder carries image metadata on, into images that are made of the volume, and a volume that is made
of such an image begins with a note that is not about it. That one is forgotten before the volume is
made, for Cinder would copy it beside ours, and refuses a second value of a key.

User messages (``openstack volume message list``) are Cinder's: it stores ids, not text
(``cinder.message.message_field``), so a message is a pair of an existing action and an existing
detail, and this module picks the nearest one. They are of failures: a volume that was made without
the cache has its note.

Telling is an extra; it never raises, whatever Cinder's database does.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, Protocol

from cinder.api.common import METADATA_TYPES
from cinder.db import api as db_api
from cinder.message import message_field
from oslo_log import log as logging

from vmdk_cache.errors import ImageError, ImageFormatError, VolumeTooSmall

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
_OUR_NOTES = re.compile(r"hit|miss|bypass: [a-z-]+")

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
    """Take a note that is about another volume out of what Cinder says of the image.

    Out of the very dict that Cinder copies into the volume's image metadata later on. A property of
    that name with any other value is the owner's and stays.
    """
    properties = image_meta.get("properties") or {}
    if _OUR_NOTES.fullmatch(str(properties.get(OUTCOME_KEY))):
        del properties[OUTCOME_KEY]


class Feedback:
    """Tells users through Cinder's database.

    :param messages: ``cinder.message.api.API()``
    :param database: ``cinder.db.api``
    """

    def __init__(self, messages: MessageApi, database: Any = db_api) -> None:
        self._messages = messages
        self._database = database

    def volume_failed(self, context: Any, volume_id: str, error: ImageError) -> None:
        """Leave a message of level ERROR on the volume; never raises.

        :param context: Cinder's request context; the message belongs to its project
        """
        action, detail = message_for(error)
        try:
            self._messages.create(
                context, action, resource_uuid=volume_id, detail=detail, level="ERROR"
            )
        except Exception as exc:
            # The volume's own error is what matters and is on its way: keep it.
            LOG.warning("Volume %s: no user message could be left: %s", volume_id, exc)

    def outcome(self, context: Any, volume_id: str, image_meta: dict[str, Any], text: str) -> None:
        """Note on the volume how it was made: ``hit``, ``miss`` or ``bypass: <reason>``.

        An image that has a property of that name of its own keeps that. Never raises.
        """
        if OUTCOME_KEY in (image_meta.get("properties") or {}):
            return
        try:
            self._database.volume_metadata_update(
                context, volume_id, {OUTCOME_KEY: text}, False, METADATA_TYPES.image
            )
        except Exception as exc:
            LOG.warning("Volume %s: could not note image_cache=%s: %s", volume_id, text, exc)
