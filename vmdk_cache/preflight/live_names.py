"""Names of the objects that a live run creates, unique for each run.

A name ends with twelve hexadecimal digits: six for the host of the run, six for the run. Templates
have the name that the cache gives to an image whose id begins with :data:`_IMAGE_PREFIX`, which no
image in Glance has. The next run on the same host removes what an earlier run left behind; runs on
other hosts do so once it is older than :data:`STALE_AFTER`.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import secrets
from dataclasses import dataclass

from vmdk_cache.preflight.live_image import Form

#: The backend that templates of a live run belong to, whatever the checked backend is.
BACKEND = "preflight"
VOLUME = "vmdk-cache-preflight"
STALE_AFTER = datetime.timedelta(hours=1)
#: "prefligh" in ASCII, as far as a UUID of version 4 allows.
_IMAGE_PREFIX = "70726566-6c69-4667-a868-"
#: The last digit of the run's part: one image for each form.
_FORMS = {Form.STREAM_OPTIMIZED: "0", Form.RAW: "1", Form.OVA: "2"}
_OURS = re.compile(
    rf"({re.escape(VOLUME)}-|{re.escape(BACKEND)}_image_cache \({_IMAGE_PREFIX})"
    r"(?P<machine>[0-9a-f]{6})(?P<run>[0-9a-f]{5})"
)


@dataclass(frozen=True)
class LiveNames:
    """The names of one run."""

    machine: str
    run: str

    @classmethod
    def new(cls, host_name: str) -> LiveNames:
        return cls(_digest(host_name), secrets.token_hex(3)[:5])

    def image_id(self, form: Form) -> str:
        return f"{_IMAGE_PREFIX}{self.machine}{self.run}{_FORMS[form]}"

    def volume(self, number: int) -> str:
        return f"{VOLUME}-{self.machine}{self.run}-{number}"

    def owns(self, name: str) -> bool:
        """Whether this run created the object with that name."""
        found = _OURS.match(name)
        return found is not None and found["machine"] + found["run"] == self.machine + self.run

    def may_remove(
        self, name: str, made_at: datetime.datetime | None, now: datetime.datetime
    ) -> bool:
        """Whether a run that has ended created the object with that name: this run, one on this
        host, or one long ago.

        :param made_at: creation time according to vCenter; None if unknown
        """
        found = _OURS.match(name)
        if found is None:
            return False
        is_old = made_at is not None and now - made_at > STALE_AFTER
        return found["machine"] == self.machine or is_old


def is_from_live_run(name: str) -> bool:
    """Whether any live run created the object with that name."""
    return _OURS.match(name) is not None


def _digest(host_name: str) -> str:
    return hashlib.sha256(host_name.encode()).hexdigest()[:6]
