"""What is written on a template in vCenter: its record, and notes on its life.

The record is a line of JSON in its extraConfig, written once, by ImportVApp. Only a template's name
and annotation can be changed (vSphere API reference, ReconfigVM_Task), so the record is complete
before MarkAsTemplate. It holds nothing about the user who asked for the image first: any account
with read rights in vCenter can see it.

While a cloud is upgraded, processes of two versions share a folder. A record of a later schema
belongs to a good template that this version cannot read: it neither serves nor removes it. So every
version must write ``schema`` under this name, as a number, and raise it when earlier versions must
leave its templates alone.

    schema 1    names no deployment, so it may be that of another cloud on the same vCenter
    schema 2    names the deployment (vmdk_cache/deployment.py)

The notes are a line of JSON in a custom attribute, which vCenter lets us change on a template:

    uses        the last use and the last warm-up (cache/usage.py)
    deployment  for templates whose records do not name it, or can no longer be read
    content     vCenter's id of it, noted right after MarkAsTemplate. If a process dies in between,
                or an earlier version of this package made the template, the next use or the next
                reconcile notes it

A clone may inherit its source's attributes, and a full copy of a disk may have another content id
than its source. So the notes name the VM they belong to, and count for no other.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass

from vmdk_cache.cache.key import CacheKey

#: The extraConfig key. Clones must blank it (an empty value deletes a key).
RECORD_KEY = "vmdk_cache.record"
#: The custom attribute of the notes.
ATTRIBUTE = "vmdk_cache.usage"
#: The custom attribute of an operator's pin (cache/pin.py).
PIN_ATTRIBUTE = "vmdk_cache.pin"
ATTRIBUTES = (ATTRIBUTE, PIN_ATTRIBUTE)
SCHEMA = 2
#: Characters of an image's name that a record keeps; Glance allows 255.
IMAGE_NAME_LENGTH = 128
_FIRST_SCHEMA = 1
_UNKNOWN_TIME = datetime.datetime.fromtimestamp(0, datetime.UTC)


@dataclass(frozen=True)
class Record:
    """The facts of one template.

    :ivar backend: the backend whose cache it belongs to
    :ivar key: what it is a copy of
    :ivar virtual_size_bytes: capacity of its disk
    :ivar created_at: aware UTC, when the import began
    :ivar owner: host and process id of the importer, for operators to read
    :ivar deployment: the cloud that it belongs to; '' if the record does not name it
    :ivar lock_domain: of the locks that the importer holds (:attr:`~vmdk_cache.locks.Locks.domain`)
    :ivar image_name: the image's name when it was imported, without what exceeds
        :data:`IMAGE_NAME_LENGTH`; '' if unknown. It serves people only: names are not unique,
        and change
    :ivar image_bytes: size of the image's file in Glance, 0 if unknown
    :ivar schema: which fields the record has; if it is later than ours, the other fields are empty
    """

    backend: str
    key: CacheKey
    virtual_size_bytes: int
    created_at: datetime.datetime
    owner: str
    deployment: str = ""
    schema: int = SCHEMA
    lock_domain: str = ""
    image_name: str = ""
    image_bytes: int = 0

    @property
    def is_of_later_version(self) -> bool:
        """Whether a later version of this package wrote it."""
        return self.schema > SCHEMA

    def to_json(self) -> str:
        assert self.schema == SCHEMA, "only a record of our own schema is known well enough"
        return json.dumps(
            {
                "schema": self.schema,
                "backend": self.backend,
                "deployment": self.deployment,
                "image_id": self.key.image_id,
                "fingerprint": self.key.fingerprint,
                "adapter_type": self.key.adapter_type,
                "virtual_size_bytes": self.virtual_size_bytes,
                "created_at": self.created_at.isoformat(),
                "owner": self.owner,
                "lock_domain": self.lock_domain,
                "image_name": self.image_name[:IMAGE_NAME_LENGTH],
                "image_bytes": self.image_bytes,
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str | None) -> Record | None:
        """The record, or None if no version of this package can have written the text.

        Only the schema of a later version's record is read.
        """
        try:
            data = json.loads(text or "")
            schema = data["schema"]
            if type(schema) is not int or schema < _FIRST_SCHEMA:
                return None
            if schema > SCHEMA:
                return cls("", CacheKey("", "", ""), 0, _UNKNOWN_TIME, "", schema=schema)
            created_at = datetime.datetime.fromisoformat(data["created_at"])
            if created_at.tzinfo is None or type(data["virtual_size_bytes"]) is not int:
                return None
            return cls(
                backend=_text(data["backend"]),
                key=CacheKey(
                    _text(data["image_id"]), _text(data["fingerprint"]), _text(data["adapter_type"])
                ),
                virtual_size_bytes=data["virtual_size_bytes"],
                created_at=created_at.astimezone(datetime.UTC),
                owner=_text(data["owner"]),
                deployment=_text(data["deployment"]) if schema >= SCHEMA else "",
                schema=schema,
                lock_domain=_text(data.get("lock_domain", "")),  # earlier versions write none
                image_name=_text(data.get("image_name", ""))[:IMAGE_NAME_LENGTH],  # nor this
                image_bytes=_size_bytes(data.get("image_bytes", 0)),  # nor this
            )
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            # Written by hand or by another program, or cut off.
            return None


@dataclass(frozen=True)
class Notes:
    """The notes: less than the 255 characters that vCenter may keep of the attribute's value.

    :ivar used_at: aware UTC, None if never or not readable; so is ``warmed_at``
    :ivar ready_vm: moref of the VM that was READY when this was noted, None if unknown
    :ivar content_id: vCenter's id of the content of that VM's disk, None if vCenter gave none
    :ivar deployment: the deployment that owns that VM, None if it is not certain
    """

    used_at: datetime.datetime | None = None
    warmed_at: datetime.datetime | None = None
    ready_vm: str | None = None
    content_id: str | None = None
    deployment: str | None = None

    @property
    def is_any(self) -> bool:
        """Whether anything is noted; only READY entries get notes."""
        return self != Notes()

    def content_of(self, moref: str) -> str | None:
        """The content id, if it is that VM's."""
        return self.content_id if self.ready_vm == moref else None

    def deployment_of(self, moref: str) -> str:
        """The deployment, if it is that VM's; otherwise ''."""
        return (self.deployment or "") if self.ready_vm == moref else ""

    def to_json(self) -> str:
        times = {"used_at": self.used_at, "warmed_at": self.warmed_at}
        said = {name: time.isoformat() for name, time in times.items() if time}
        texts = {
            "ready_vm": self.ready_vm,
            "content_id": self.content_id,
            "deployment": self.deployment,
        }
        return json.dumps(said | {name: text for name, text in texts.items() if text})

    @classmethod
    def from_json(cls, text: str | None) -> Notes:
        """The notes; none if the text was not written by this package."""
        try:
            data = json.loads(text or "{}")
            return cls(
                _time(data.get("used_at")),
                _time(data.get("warmed_at")),
                _text_or_none(data.get("ready_vm")),
                _text_or_none(data.get("content_id")),
                _text_or_none(data.get("deployment")),
            )
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            return cls()


def _text(value: object) -> str:
    """:raises ValueError: half a character (a lone surrogate), which has no digest"""
    text = str(value)
    text.encode()
    return text


def _size_bytes(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _time(text: object) -> datetime.datetime | None:
    if not isinstance(text, str):
        return None
    time = datetime.datetime.fromisoformat(text)
    return time.astimezone(datetime.UTC) if time.tzinfo is not None else None
