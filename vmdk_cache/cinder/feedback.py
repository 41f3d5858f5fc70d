"""What the user is told of a volume that could not be made: Cinder's user messages.

``openstack volume message list`` shows them. Cinder stores ids, not text (``cinder.message.
message_field``): a message is a pair of an existing action and an existing detail, so this module
picks the nearest one. Telling is an extra; it never raises, whatever Cinder's database does.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from cinder.db import api as db_api
from cinder.message import message_field
from oslo_log import log as logging

from vmdk_cache.errors import ImageError, ImageFormatError

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

_FORMAT = UserMessage(_Action.COPY_IMAGE_TO_VOLUME, _Detail.IMAGE_FORMAT_UNACCEPTABLE)
# Nothing in Cinder says "the bytes are not those that were promised"; SIGNATURE_VERIFICATION_FAILED
# would send the user looking for a signature that the image need not have.
_FAILED = UserMessage(_Action.COPY_IMAGE_TO_VOLUME, _Detail.DRIVER_FAILED_CREATE)


def message_for(error: ImageError) -> UserMessage:
    """The message that comes nearest to ``error``."""
    return _FORMAT if isinstance(error, ImageFormatError) else _FAILED


class Feedback:
    """Tells users through Cinder's message API.

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

        It stands as ``image_cache`` in the volume's image metadata, which the user can read and
        not write. A key there can be written once: an image that brings the same property, or an
        earlier attempt at the same volume, has the first word. Never raises.
        """
        if OUTCOME_KEY in (image_meta.get("properties") or {}):
            return
        try:
            self._database.volume_glance_metadata_bulk_create(
                context, volume_id, {OUTCOME_KEY: text}
            )
        except Exception as exc:
            LOG.warning("Volume %s: could not note image_cache=%s: %s", volume_id, text, exc)
