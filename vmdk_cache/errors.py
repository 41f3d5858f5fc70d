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
                UploadRefused       the host does not take the data of an upload
            TaskLost                vCenter no longer knows how a task ended: it was restarted
            TaskTimedOut            a task ran, or waited in vCenter's queue, for too long
            LeaseLost               an NFC lease could not be renewed or was aborted
        ImageError                  the image cannot become a disk, here or anywhere
            ImageFormatError        no format that becomes a disk, or a VMDK that names other files
            ImageCorrupt            damaged, or other bytes than Glance promised (length, hash)
            VolumeTooSmall          the image's disk is larger than the volume
        SourceUnavailable           the image's stream broke off; another attempt may succeed
            SourceRefused           Glance refuses the image to this user; another may have it
            ImageDataMissing        Glance has no data of the image, or stopped before its end
            NoGlanceAdmin           Cinder has no user that sees every project's images
        NotCacheable                the cache does not take this image or volume; says why
        VolumeDeleted               the volume was deleted before it was made
        NoPlacement                 no datastore and host fit the request
        LockTimeout                 a lock or a slot for a clone was held for too long
        LockUnavailable             the coordinator that grants locks failed

``retryable`` on each class says whether the same call, made again later, may succeed; nothing
else decides that. ``str(error)`` is one line of at most 2000 printable characters, fit for a log
and for an operator, whatever the message was made of.
"""

from __future__ import annotations

from typing import Final

from vmdk_cache.quoting import sentence

#: Characters of an error's text. What others wrote in it has narrower limits of its own.
MESSAGE_LENGTH: Final = 2000


class VmdkCacheError(Exception):
    """Base of all: ``except VmdkCacheError`` catches what this package raises, and only that."""

    retryable = False

    def __init__(self, message: str) -> None:
        super().__init__(sentence(message, MESSAGE_LENGTH))


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


class UploadRefused(TaskFailed):
    """The host that receives an upload does not take its data, or fails over them."""


class TaskLost(VCenterError):
    """vCenter no longer knows the task, nor how it ended, as after a restart of vCenter.

    What the task was to make may be there, whole or in part.
    """

    retryable = True


class TaskTimedOut(VCenterError):
    """A task ran for too long, or waited in vCenter's queue for far too long."""


class LeaseLost(VCenterError):
    """An NFC lease timed out, was aborted, or could not be renewed."""


class ImageError(VmdkCacheError):
    """The image cannot become a disk, here or by any other road."""


class ImageFormatError(ImageError):
    """No format that becomes a disk, or a VMDK that names other files."""


class ImageCorrupt(ImageError):
    """The image is damaged, or differs from what Glance promised: length, checksum or hash."""


class VolumeTooSmall(ImageError):
    """The image's disk is larger than the volume that is to hold it."""


class SourceUnavailable(VmdkCacheError):
    """The image's stream could not be opened or broke off; another attempt may succeed."""

    retryable = True


class SourceRefused(SourceUnavailable):
    """Glance refuses the image to the user who asks, or hides it: another user may have it."""

    retryable = False


class ImageDataMissing(SourceUnavailable):
    """Glance knows the image but has no data of it, or ended its answer before the image's end."""


class NoGlanceAdmin(SourceUnavailable):
    """Cinder has no user that sees every project's images: an operator has to configure one."""

    retryable = False


class NotCacheable(VmdkCacheError):
    """The cache does not take this image or volume.

    :ivar reason: a :class:`vmdk_cache.cache.events.Reason` value, e.g. ``image-too-large``
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class VolumeDeleted(VmdkCacheError):
    """The volume was deleted before it was made, or is being deleted: nothing is to be made."""


class NoPlacement(VmdkCacheError):
    """No datastore and host fit the request; the text counts the refusals by reason."""


class LockTimeout(VmdkCacheError):
    """Another process held the lock for too long, or other clones held all slots."""


class LockUnavailable(VmdkCacheError):
    """The coordinator that grants locks failed."""
