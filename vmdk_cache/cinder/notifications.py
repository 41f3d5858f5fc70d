"""Cinder notifications about the cache, for billing, audit and event collectors.

Notifications of Cinder's own image-volume cache keep their names and contents (cinder,
image/cache.py); the others follow Cinder's names for starts and ends.

    image_volume_cache.hit            Hit             INFO
    image_volume_cache.miss           Miss            INFO
    image_volume_cache.bypass         Bypassed        INFO
    image_volume_cache.evict          Evicted         INFO
    image_volume_cache.import.start   ImportStarted   INFO
    image_volume_cache.import.end     Imported        INFO
    image_volume_cache.import.error   ImportFailed    ERROR
    image_volume_cache.replica.end    Replicated      INFO

Publisher: ``volume.<host>``. Payload: ``image_id`` and ``host`` (host@backend), as with the generic
cache, ``backend``, and the event's other fields (vmdk_cache/cache/events.py). Cinder itself sends
notifications about failed volumes. NotKeptWarm and PurgeEnded recur with each round and have none.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from cinder import context, rpc
from oslo_log import log as logging

from vmdk_cache.cache import events
from vmdk_cache.cinder import upstream
from vmdk_cache.quoting import sentence

LOG = logging.getLogger(__name__)

#: The default ([oslo_messaging_notifications] retry) is to retry forever, which would block an
#: import and its waiters.
RETRIES = 1

_NAMES: dict[type[events.Event], str] = {
    events.Hit: "hit",
    events.Miss: "miss",
    events.Bypassed: "bypass",
    events.Evicted: "evict",
    events.ImportStarted: "import.start",
    events.Imported: "import.end",
    events.ImportFailed: "import.error",
    events.Replicated: "replica.end",
}


class Notifications:
    """A listener for events. Sends nothing if notifications are disabled.

    :param host: host of the backend, as Cinder writes it: host@backend
    """

    def __init__(self, host: str) -> None:
        self._host = host

    def __call__(self, event: events.Event, /) -> None:
        """Send the event's notification, if it has one; never raises."""
        name = _NAMES.get(type(event))
        if name is None or not rpc.initialized():
            return
        try:
            notifier = rpc.get_notifier("volume", self._host).prepare(retry=RETRIES)
            send = notifier.error if name.endswith(".error") else notifier.info
            with upstream.thread_context_kept():
                send(
                    context.get_admin_context(), f"image_volume_cache.{name}", self._payload(event)
                )
        except Exception as failure:
            LOG.warning(
                "The notification image_volume_cache.%s was not sent: %s", name, sentence(failure)
            )

    def _payload(self, event: events.Event) -> dict[str, Any]:
        return {"host": self._host, **dataclasses.asdict(event)}
