"""What a template says of itself: a line of JSON in its extraConfig, written once, at birth.

Only a template's name and annotation can be changed (vSphere API reference, ReconfigVM_Task), so
all that must be known later is in the record before MarkAsTemplate. It holds nothing of the user
who asked first: any account with read rights in vCenter can see it.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass

from vmdk_cache.cache.key import CacheKey

#: The extraConfig key. Clones must blank it (an empty value deletes a key).
RECORD_KEY = "vmdk_cache.record"
SCHEMA = 1


@dataclass(frozen=True)
class Record:
    """The facts of one template.

    :ivar backend: the backend whose cache it belongs to
    :ivar key: what it is a copy of
    :ivar virtual_size_bytes: capacity of its disk
    :ivar created_at: aware UTC, when the import began
    :ivar owner: host and process id of the importer, for an operator's eyes
    """

    backend: str
    key: CacheKey
    virtual_size_bytes: int
    created_at: datetime.datetime
    owner: str

    def to_json(self) -> str:
        return json.dumps(
            {
                "schema": SCHEMA,
                "backend": self.backend,
                "image_id": self.key.image_id,
                "fingerprint": self.key.fingerprint,
                "adapter_type": self.key.adapter_type,
                "virtual_size_bytes": self.virtual_size_bytes,
                "created_at": self.created_at.isoformat(),
                "owner": self.owner,
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str | None) -> Record | None:
        """The record, or None for anything that is not one of ours in a schema we know."""
        try:
            data = json.loads(text or "")
            if data["schema"] != SCHEMA:
                return None
            created_at = datetime.datetime.fromisoformat(data["created_at"])
            if created_at.tzinfo is None or type(data["virtual_size_bytes"]) is not int:
                return None
            return cls(
                backend=str(data["backend"]),
                key=CacheKey(
                    str(data["image_id"]), str(data["fingerprint"]), str(data["adapter_type"])
                ),
                virtual_size_bytes=data["virtual_size_bytes"],
                created_at=created_at,
                owner=str(data["owner"]),
            )
        except (ValueError, TypeError, KeyError, RecursionError):
            # Written by hand, cut off, or by somebody else: not ours to read.
            return None
