"""Pins: an operator's wish that an image is never evicted, noted on its copies.

A pin is a line of JSON in a custom attribute of its own, because the notes (cache/record.py) leave
hardly any of the 255 characters that a value may have. A clone may inherit its source's attributes,
so a pin names the VM that it belongs to, and counts for no other.

An image is pinned if any of its copies is; so a copy that was made a moment ago is protected as
well. A pin outlives its copy as long as the image has another one: a replica takes on the pin of
its source (cache/replication.py), and a copy that is removed hands its pin on (cache/evictor.py).
"""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass

from vmdk_cache.quoting import identifier

#: Of ``by``: with a moref and a time, its JSON is shorter than 255 characters, even if it consists
#: of backslashes.
_BY_LENGTH = 80


@dataclass(frozen=True)
class Pin:
    """Who pinned an image, and when.

    :ivar by: ``user@host``, printable ASCII
    :ivar at: aware UTC
    """

    by: str
    at: datetime.datetime

    @classmethod
    def of(cls, user: str, host: str, at: datetime.datetime) -> Pin:
        """A pin that can be written: other characters than printable ASCII become ``?``."""
        by = "".join(c if c.isascii() and c.isprintable() else "?" for c in f"{user}@{host}")
        return cls(by[:_BY_LENGTH], at)

    def __str__(self) -> str:
        return f"pinned by {identifier(self.by)} since {self.at:%Y-%m-%d %H:%M} UTC"

    def to_json(self, moref: str) -> str:
        """:param moref: of the VM that it is noted on"""
        return json.dumps({"vm": moref, "by": self.by, "at": self.at.isoformat(timespec="seconds")})

    @classmethod
    def from_json(cls, text: str | None, moref: str) -> Pin | None:
        """The pin of that VM; None if the text is another VM's, cut off, or not ours."""
        try:
            data = json.loads(text or "null")
            by, at = data["by"], datetime.datetime.fromisoformat(data["at"])
            if data["vm"] != moref or not isinstance(by, str) or at.tzinfo is None:
                return None
            if not (0 < len(by) <= _BY_LENGTH and by.isascii() and by.isprintable()):
                return None
            return cls(by, at.astimezone(datetime.UTC))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return None
