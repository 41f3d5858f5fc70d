"""Every error the package raises.

    VmdkCacheError
        ConfigError                 an option, file or object named by the operator is wrong
        VCenterError                vCenter refused, failed or was out of reach
            Unreachable             no answer: connection refused, reset, timed out, HTTP 503
            CertificateRefused      the server's certificate is not trusted
            LoginRefused            wrong user or password
            SessionExpired          the session is gone; log in again
            NoPermission            the account lacks a privilege
            ObjectNotFound          the object has been deleted
            NameTaken               an object of that name exists in the folder
            InUse                   another operation holds the object
            FileLocked              a file of the object is locked (for a while)
            NoSpace                 the datastore is full
            HostUnavailable         the object's host is disconnected or in maintenance
            HardwareTooNew          no host for the VM's virtual hardware version
            NotSupported            the operation is not allowed on this object
            TaskFailed              a task or call ended with any other fault
            TaskLost                vCenter no longer knows how a task ended: it was restarted
            TaskTimedOut            a task ran (not queued) for too long
            LeaseLost               an NFC lease could not be renewed or was aborted
        ImageError                  the image cannot become a disk, here or anywhere
            ImageFormatError        not a VMDK we take, or one whose claims are unsafe or do not fit
            ImageCorrupt            the bytes differ from what Glance promised (length, hash)
            VolumeTooSmall          the image's disk is larger than the volume
        SourceUnavailable           the image's stream broke off; another attempt may succeed
        NotCacheable                the cache does not take this image or volume; says why
        NoPlacement                 no datastore and host fit the request
        LockTimeout                 another process held the lock for too long
        LockUnavailable             the coordinator that grants locks failed

``retryable`` on each class says whether the same call, made again later, may succeed; nothing
else decides that. ``str(error)`` is one line fit for a log and for an operator.
"""

from __future__ import annotations


class VmdkCacheError(Exception):
    """Base of all: ``except VmdkCacheError`` catches what this package raises, and only that."""

    retryable = False


class ConfigError(VmdkCacheError):
    """An option, file or object named by the operator is wrong; the text says what to do."""


class VCenterError(VmdkCacheError):
    """vCenter refused, failed or was out of reach.

    :ivar method: name of the vSphere API method, e.g. ``CloneVM_Task``, or None
    :ivar moref: managed object id the call was made on or the fault names, or None
    :ivar fault: name of the vSphere fault type, e.g. ``vim.fault.FileLocked``, or None
    """

    def __init__(
        self,
        message: str,
        *,
        method: str | None = None,
        moref: str | None = None,
        fault: str | None = None,
    ) -> None:
        super().__init__(message)
        self.method = method
        self.moref = moref
        self.fault = fault


class Unreachable(VCenterError):
    """No answer: connection refused, reset or timed out, or HTTP 503. The call may have acted."""

    retryable = True


class CertificateRefused(VCenterError):
    """The server's certificate is not trusted."""


class LoginRefused(VCenterError):
    """Wrong user or password."""


class SessionExpired(VCenterError):
    """The session is gone: expired, closed, or vCenter restarted."""

    retryable = True


class NoPermission(VCenterError):
    """The account lacks a privilege on the object."""


class ObjectNotFound(VCenterError):
    """The managed object, or a file of it, has been deleted; ``moref`` names it if known."""


class NameTaken(VCenterError):
    """An object of that name exists in the folder; ``moref`` is that object's, if known."""


class InUse(VCenterError):
    """Another operation holds the object, or its state forbids this one now."""

    retryable = True


class FileLocked(VCenterError):
    """A file of the object is locked; vSphere 8.0 U1+ does so shortly after an import."""

    retryable = True


class NoSpace(VCenterError):
    """The datastore is full."""


class HostUnavailable(VCenterError):
    """The object's host is disconnected or in maintenance."""


class HardwareTooNew(VCenterError):
    """The host does not run the VM's virtual hardware version."""


class NotSupported(VCenterError):
    """The operation is not allowed on this object."""


class TaskFailed(VCenterError):
    """A task or call ended with a fault that has no class of its own here."""


class TaskLost(VCenterError):
    """vCenter no longer knows the task, nor how it ended, as after a restart of vCenter.

    What the task was to make may be there, whole or in part.
    """

    retryable = True


class TaskTimedOut(VCenterError):
    """A task ran for too long; the time it was queued does not count."""


class LeaseLost(VCenterError):
    """An NFC lease timed out, was aborted, or could not be renewed."""


class ImageError(VmdkCacheError):
    """The image cannot become a disk, here or by any other road."""


class ImageFormatError(ImageError):
    """Not a VMDK that we take, or one whose claims are unsafe or do not fit."""


class ImageCorrupt(ImageError):
    """The bytes differ from what Glance promised: length, checksum or hash."""


class VolumeTooSmall(ImageError):
    """The image's disk is larger than the volume that is to hold it."""


class SourceUnavailable(VmdkCacheError):
    """The image's stream could not be opened or broke off; another attempt may succeed."""

    retryable = True


class NotCacheable(VmdkCacheError):
    """The cache does not take this image or volume.

    :ivar reason: a :class:`vmdk_cache.cache.events.Reason` value, e.g. ``image-too-large``
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class NoPlacement(VmdkCacheError):
    """No datastore and host fit the request; the text counts the refusals by reason."""


class LockTimeout(VmdkCacheError):
    """Another process held the lock for too long."""


class LockUnavailable(VmdkCacheError):
    """The coordinator that grants locks failed."""
