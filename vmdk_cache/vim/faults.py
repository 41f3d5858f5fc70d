"""Maps errors of vSphere, sockets, HTTP and TLS to :mod:`vmdk_cache.errors`.

The most specific ancestor of a fault that has an entry in :data:`FAULTS` decides. A fault without
an entry becomes ``TaskFailed``. No other module examines fault types; code that must distinguish
two faults of one error reads ``error.fault``.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any
from xml.parsers.expat import ExpatError

from pyVmomi import version_info_str, vmodl

from vmdk_cache import errors
from vmdk_cache.quoting import identifier, quoted, sentence

#: Fault type without its namespace -> error (vSphere API reference, "Fault" pages).
FAULTS: dict[str, type[errors.VCenterError]] = {
    "NotAuthenticated": errors.SessionExpired,
    "InvalidLogin": errors.LoginRefused,
    "NoPermission": errors.NoPermission,
    "SecurityError": errors.NoPermission,
    "RestrictedVersion": errors.NotSupported,
    "RestrictedByAdministrator": errors.NoPermission,
    "ManagedObjectNotFound": errors.ObjectNotFound,
    "FileNotFound": errors.ObjectNotFound,
    "NotFound": errors.ObjectNotFound,
    "DuplicateName": errors.NameTaken,
    "AlreadyExists": errors.NameTaken,
    "FileAlreadyExists": errors.NameTaken,
    "FileLocked": errors.FileLocked,
    "TaskInProgress": errors.InUse,
    "ResourceInUse": errors.InUse,
    "ConcurrentAccess": errors.InUse,
    "InvalidState": errors.InUse,
    "MethodDisabled": errors.InUse,
    "InvalidPowerState": errors.NotSupported,
    "NotSupported": errors.NotSupported,
    "NotImplemented": errors.NotSupported,
    "MethodNotFound": errors.NotSupported,
    "NoDiskSpace": errors.NoSpace,
    "InsufficientStorageSpace": errors.NoSpace,
    "InvalidHostState": errors.HostUnavailable,
    "NoActiveHostInCluster": errors.HostUnavailable,
    "HostCommunication": errors.HostUnavailable,
    "HostConnectFault": errors.HostUnavailable,
    "InaccessibleDatastore": errors.HostUnavailable,
    "DatastoreNotWritableOnHost": errors.HostUnavailable,
    "InvalidDatastoreState": errors.HostUnavailable,
    "VirtualHardwareVersionNotSupported": errors.HardwareTooNew,
}

#: Statuses after which the same request may succeed later (RFC 9110; vCenter's proxy sends 503
#: when it is out of HTTP sessions or vpxd is starting).
_BUSY_STATUS = frozenset({408, 429, 500, 502, 503, 504})


class NotSent(Exception):
    """The request was not sent, because connecting failed. ``__cause__`` says why."""


class NotUnderstood(Exception):
    """The response contains something that this pyVmomi does not know. ``__cause__`` says what."""


def fault_name(fault: BaseException) -> str:
    """E.g. ``vim.fault.FileLocked``."""
    return type(fault).__name__


def translate(
    error: BaseException,
    *,
    method: str | None = None,
    moref: str | None = None,
    server: str = "vCenter",
) -> BaseException:
    """The error to raise instead of ``error``.

    :param error: a vSphere fault (raised, or found in a task or lease), or an error of a socket,
        TLS, :mod:`http.client` or a channel
    :param method: vSphere API method that was called
    :param moref: the object that it was called on
    :param server: ``host:port``, for errors that concern the connection
    :returns: a :class:`~vmdk_cache.errors.VCenterError`; ``error`` itself if it is neither a fault
        nor a connection error
    """
    if isinstance(error, NotSent) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, vmodl.MethodFault):
        return _from_fault(error, method, moref, server)
    kind, text = _from_connection(error, server)
    return error if kind is None else kind(text, method=method, moref=moref)


@contextlib.contextmanager
def translated(
    *, method: str | None = None, moref: str | None = None, server: str = "vCenter"
) -> Iterator[None]:
    """Translate errors of the block with :func:`translate`, and raise the result from the
    original."""
    try:
        yield
    except Exception as error:
        mapped = translate(error, method=method, moref=moref, server=server)
        if mapped is error:
            raise
        raise mapped from error


def _from_fault(
    fault: Any, method: str | None, moref: str | None, server: str
) -> errors.VCenterError:
    kind = _error_class(fault)
    text = _text(fault)
    if kind is errors.ObjectNotFound:
        moref = _moref(fault, "obj") or moref
        text = f"{moref}: {text}" if moref and moref not in text else text
    elif kind is errors.NameTaken:
        moref = _moref(fault, "object")
    elif getattr(fault, "privilegeId", None):
        privilege, target = identifier(fault.privilegeId), _moref(fault, "object")
        if kind is errors.NoPermission:
            text = f"privilege {privilege} on {target} is missing: {text}"
        else:  # NotAuthenticated
            text = f"privilege {privilege} on {target} is required: {text}"
    elif kind is errors.LoginRefused:
        text = (
            f"{server} refused the log-in: {text}; "
            "check vmware_host_username and vmware_host_password"
        )
    return kind(text, method=method, moref=moref, fault=fault_name(fault))


def _error_class(fault: BaseException) -> type[errors.VCenterError]:
    for ancestor in type(fault).__mro__:
        kind = FAULTS.get(ancestor.__name__.rpartition(".")[2])
        if kind is not None:
            return kind
    return errors.TaskFailed


def _text(fault: Any) -> str:
    """vCenter's message, the fault's details and its name, on one line."""
    words = [str(fault.msg)] if getattr(fault, "msg", None) else []
    words += [m.message for m in getattr(fault, "faultMessage", None) or () if m.message]
    for detail in ("reason", "invalidProperty", "property", "file", "name", "datastore"):
        value = getattr(fault, detail, None)
        if isinstance(value, str) and value and not any(value in word for word in words):
            words.append(f"{detail}={quoted(value)}")
    if not words:
        words = [fault_name(fault).rpartition(".")[2]]
    return f"{sentence('; '.join(words))} ({fault_name(fault)})"


def _moref(fault: Any, field: str) -> str | None:
    target = getattr(fault, field, None)
    return None if target is None else str(target._GetMoId())


def _from_connection(
    error: BaseException, server: str
) -> tuple[type[errors.VCenterError] | None, str]:
    if isinstance(error, NotUnderstood):
        return errors.TaskFailed, (
            f"{server} sent a response that pyvmomi {identifier(version_info_str)} does not "
            f"understand ({sentence(repr(error.__cause__))}); install a newer pyvmomi"
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return errors.CertificateRefused, (
            f"the certificate of {server} is not trusted: "
            f"{sentence(getattr(error, 'verify_message', error))}; set "
            "vmware_ca_file to its issuer's certificates (or vmware_insecure in a test bed)"
        )
    is_no_name = isinstance(error, UnicodeError) and not isinstance(error, UnicodeDecodeError)
    if is_no_name or isinstance(error, socket.gaierror):  # the former for a label of 64 characters
        return errors.Unreachable, (
            f"no address for {server}: {sentence(error)}; check vmware_host_ip"
        )
    if isinstance(error, TimeoutError):
        return errors.Unreachable, f"{server} did not answer in time"
    if isinstance(error, HTTPException):
        return _from_http(error, server)
    if isinstance(error, OSError):
        return errors.Unreachable, (
            f"no answer from {server}: {sentence(error or type(error).__name__)}; "
            "check vmware_host_ip and vmware_host_port"
        )
    if isinstance(error, ExpatError):
        return errors.Unreachable, (
            f"{server} sent a response that is not SOAP ({sentence(error)}); check vmware_host_ip "
            "and proxies"
        )
    return None, ""


def _from_http(error: HTTPException, server: str) -> tuple[type[errors.VCenterError], str]:
    """pyVmomi raises ``HTTPException("503 Service Unavailable")`` for an unexpected status."""
    status = re.match(r"(\d{3})\b", str(error))
    if status and int(status[1]) not in _BUSY_STATUS:
        return errors.TaskFailed, (
            f"{server} answered HTTP {sentence(error)}: is it a vCenter? Check vmware_host_ip"
        )
    return errors.Unreachable, f"{server} answered HTTP {sentence(error or type(error).__name__)}"
