"""Every error the package raises.

    VmdkCacheError
        ConfigError                 an option, file or object named by the operator is wrong
        VCenterError                vCenter refused, failed or could not be reached
            Unreachable             no answer: connection refused, reset, timed out, HTTP 503
            CertificateRefused      the server's certificate is not trusted
            LoginRefused            wrong user or password
            SessionExpired          the session is gone; log in again
            NoPermission            the account lacks a privilege
            ObjectNotFound          the object has been deleted
            NameTaken               an object of that name exists in the folder
            InUse                   another operation holds the object
            FileLocked              a file of the object is locked (temporarily)
            NoSpace                 the datastore is full
            HostUnavailable         the object's host is disconnected or in maintenance
            HardwareTooNew          no host for the VM's virtual hardware version
            NotSupported            the operation is not allowed on this object
            TaskFailed              a task or call ended with any other fault
                UploadRefused       the host does not accept the data of an upload
            TaskLost                vCenter no longer knows how a task ended: vCenter restarted
            TaskTimedOut            a task ran, or waited in vCenter's queue, for too long
            LeaseLost               an NFC lease could not be renewed or was aborted
        ImageError                  the image cannot become a disk, here or elsewhere
            ImageFormatError        not a disk format, or a VMDK that names other files
            ImageCorrupt            damaged, or its length or hash differs from Glance's
            VolumeTooSmall          the image's disk is larger than the volume
        SourceUnavailable           the download failed; another attempt may succeed
            SourceRefused           Glance refuses the image to this user; others may have access
            ImageDataMissing        Glance has no data of the image, or stopped before its end
            NoGlanceAdmin           Cinder has no user that sees every project's images
        NotCacheable                the cache does not handle this image or volume; says why
            UnusualFormat           not read here, but perhaps by Cinder's own driver
        VolumeDeleted               the volume was deleted before it was created
        NoPlacement                 no datastore and host fit the request
        LockTimeout                 a lock or a slot for a clone was held for too long
        LockUnavailable             the coordinator that grants locks failed

Only the class attribute ``retryable`` says whether the same call may succeed later. ``str(error)``
is always one line of at most 2000 printable characters, suitable for logs and operators.
"""

from __future__ import annotations

from typing import Final

from vmdk_cache.quoting import sentence

#: Maximum length of an error's text. Quoted text from others has lower limits.
MESSAGE_LENGTH: Final = 2000


class VmdkCacheError(Exception):
    """Base class: ``except VmdkCacheError`` catches all errors of this package, and no others."""

    retryable = False

    def __init__(self, message: str) -> None:
        super().__init__(sentence(message, MESSAGE_LENGTH))


class ConfigError(VmdkCacheError):
    """An option, or a file or object that the operator named, is wrong; the text says what to
    do."""


class VCenterError(VmdkCacheError):
    """vCenter refused, failed or could not be reached.

    :ivar method: name of the vSphere API method, e.g. ``CloneVM_Task``, or None
    :ivar moref: managed object id that the call was made on or that the fault names, or None
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
    """No answer: connection refused, reset or timed out, or HTTP 503. The call may have taken
    effect."""

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
    """Another operation holds the object, or the object's state does not allow this one now."""

    retryable = True


class FileLocked(VCenterError):
    """A file of the object is locked; vSphere 8.0 U1 and later lock files shortly after an
    import."""

    retryable = True


class NoSpace(VCenterError):
    """The datastore is full."""


class HostUnavailable(VCenterError):
    """The object's host is disconnected or in maintenance."""


class HardwareTooNew(VCenterError):
    """The host does not support the VM's virtual hardware version."""


class NotSupported(VCenterError):
    """The operation is not allowed on this object."""


class TaskFailed(VCenterError):
    """A task or call ended with a fault that has no specific class."""


class UploadRefused(TaskFailed):
    """The host that receives an upload rejects the data, or fails while processing it."""


class TaskLost(VCenterError):
    """vCenter no longer knows the task or its outcome, as after a restart of vCenter.

    The task's result may exist, completely or partially.
    """

    retryable = True


class TaskTimedOut(VCenterError):
    """A task ran for too long, or waited too long in vCenter's queue."""


class LeaseLost(VCenterError):
    """An NFC lease timed out, was aborted, or could not be renewed."""


class ImageError(VmdkCacheError):
    """The image cannot become a disk, through the cache or otherwise."""


class ImageFormatError(ImageError):
    """Not a disk format, or a VMDK that names other files."""


class ImageCorrupt(ImageError):
    """The image is damaged, or its length, checksum or hash differs from Glance's."""


class VolumeTooSmall(ImageError):
    """The image's disk is larger than the volume."""


class SourceUnavailable(VmdkCacheError):
    """The download could not start or was interrupted; another attempt may succeed."""

    retryable = True


class SourceRefused(SourceUnavailable):
    """Glance refuses the image to this user, or hides it; another user may have access."""

    retryable = False


class ImageDataMissing(SourceUnavailable):
    """Glance knows the image but has no data of it, or ended the download early."""


class NoGlanceAdmin(SourceUnavailable):
    """Cinder has no user that sees every project's images; the operator has to configure one."""

    retryable = False


class NotCacheable(VmdkCacheError):
    """The cache does not handle this image or volume.

    :ivar reason: a :class:`vmdk_cache.cache.events.Reason` value, e.g. ``image-too-large``
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class UnusualFormat(NotCacheable):
    """The image is not damaged, but its format is not read here; Cinder's own driver may read it.

    The text says what is unusual and what to do.
    """

    def __init__(self, message: str) -> None:
        super().__init__("unusual-format", message)


class VolumeDeleted(VmdkCacheError):
    """The volume was deleted before it was created, or is being deleted: nothing must be
    created."""


class NoPlacement(VmdkCacheError):
    """No datastore and host can take the request; the text counts the refusals by reason."""


class LockTimeout(VmdkCacheError):
    """Another process held the lock for too long, or other clones held all slots."""


class LockUnavailable(VmdkCacheError):
    """The coordinator that grants locks failed."""
