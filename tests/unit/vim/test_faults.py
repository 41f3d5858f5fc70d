"""The fault table: what each fault and failure becomes, and what an operator reads."""

from __future__ import annotations

import http.client
import socket
import ssl
from xml.parsers.expat import ExpatError

import pytest
from pyVmomi import vim, vmodl

from vmdk_cache import errors
from vmdk_cache.vim import faults


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (vim.fault.NotAuthenticated(), errors.SessionExpired),
        (vim.fault.NoPermission(), errors.NoPermission),
        (vim.fault.InvalidLogin(), errors.LoginRefused),
        (vim.fault.PasswordExpired(), errors.LoginRefused),
        (vmodl.fault.ManagedObjectNotFound(), errors.ObjectNotFound),
        (vim.fault.FileNotFound(), errors.ObjectNotFound),
        (vim.fault.DuplicateName(), errors.NameTaken),
        (vim.fault.AlreadyExists(), errors.NameTaken),
        (vim.fault.FileAlreadyExists(), errors.NameTaken),
        (vim.fault.FileLocked(), errors.FileLocked),
        (vim.fault.TaskInProgress(), errors.InUse),
        (vim.fault.ResourceInUse(), errors.InUse),
        (vim.fault.InvalidState(), errors.InUse),
        (vim.fault.InvalidPowerState(), errors.NotSupported),
        (vmodl.fault.NotSupported(), errors.NotSupported),
        (vmodl.fault.MethodNotFound(), errors.NotSupported),
        (vim.fault.NoDiskSpace(), errors.NoSpace),
        (vim.fault.InsufficientStorageSpace(), errors.NoSpace),
        (vim.fault.InvalidHostState(), errors.HostUnavailable),
        (vmodl.fault.HostNotConnected(), errors.HostUnavailable),
        (vim.fault.InaccessibleDatastore(), errors.HostUnavailable),
        (vim.fault.DatastoreNotWritableOnHost(), errors.HostUnavailable),
        (vim.fault.VirtualHardwareVersionNotSupported(), errors.HardwareTooNew),
        (vmodl.fault.RequestCanceled(), errors.TaskFailed),
        (vmodl.fault.InvalidArgument(), errors.TaskFailed),
        (vim.fault.FileFault(), errors.TaskFailed),
        (vmodl.RuntimeFault(), errors.TaskFailed),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_each_fault_becomes_one_error(
    fault: BaseException, expected: type[errors.VCenterError]
) -> None:
    translated = faults.translate(fault, method="CloneVM_Task", moref="vm-1")

    assert type(translated) is expected
    assert isinstance(translated, errors.VCenterError)
    assert translated.method == "CloneVM_Task"
    assert translated.fault == type(fault).__name__
    assert type(fault).__name__ in str(translated)


def test_every_entry_of_the_table_is_a_fault_that_exists() -> None:
    for name in faults.FAULTS:
        assert hasattr(vim.fault, name) or hasattr(vmodl.fault, name), name


def test_the_text_is_vcenters_with_the_details_on_one_line() -> None:
    fault = vim.fault.FileLocked(msg="Unable to access file\nsince it is locked", file="[ds] a/b")

    assert str(faults.translate(fault)) == (
        "Unable to access file since it is locked; file='[ds] a/b' (vim.fault.FileLocked)"
    )


def test_a_fault_without_text_is_named() -> None:
    assert str(faults.translate(vim.fault.TaskInProgress())) == (
        "TaskInProgress (vim.fault.TaskInProgress)"
    )


def test_a_missing_object_is_the_one_in_the_fault() -> None:
    fault = vmodl.fault.ManagedObjectNotFound(obj=vim.Folder("group-v7"))

    translated = faults.translate(fault, moref="vm-1")

    assert isinstance(translated, errors.ObjectNotFound)
    assert translated.moref == "group-v7"
    assert "group-v7" in str(translated)


def test_the_owner_of_a_taken_name_is_reported() -> None:
    fault = vim.fault.DuplicateName(name="image", object=vim.VirtualMachine("vm-7"))

    translated = faults.translate(fault, moref="group-v1")

    assert isinstance(translated, errors.NameTaken)
    assert translated.moref == "vm-7"


def test_a_missing_privilege_is_named_with_its_object() -> None:
    fault = vim.fault.NoPermission(
        object=vim.Folder("group-v7"), privilegeId="Folder.Create", msg="Permission denied."
    )

    text = str(faults.translate(fault))

    assert "Folder.Create" in text
    assert "group-v7" in text


@pytest.mark.parametrize(
    ("failure", "expected", "words"),
    [
        (ConnectionRefusedError(111, "refused"), errors.Unreachable, "vmware_host_ip"),
        (ConnectionResetError(), errors.Unreachable, "vc.example:443"),
        (TimeoutError(), errors.Unreachable, "in time"),
        (socket.gaierror(-2, "unknown"), errors.Unreachable, "vmware_host_ip"),
        (UnicodeError("label too long"), errors.Unreachable, "vmware_host_ip"),
        (http.client.RemoteDisconnected("closed"), errors.Unreachable, "vc.example:443"),
        (http.client.HTTPException("503 Service Unavailable"), errors.Unreachable, "503"),
        (http.client.HTTPException("404 Not Found"), errors.TaskFailed, "is it a vCenter"),
        (ssl.SSLCertVerificationError("no"), errors.CertificateRefused, "vmware_ca_file"),
        (ExpatError("syntax error"), errors.Unreachable, "not SOAP"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_each_failure_of_the_connection_becomes_one_error(
    failure: Exception, expected: type[errors.VCenterError], words: str
) -> None:
    translated = faults.translate(failure, server="vc.example:443")

    assert type(translated) is expected
    assert words in str(translated)


def test_errors_of_other_origin_stay_unchanged() -> None:
    bug = TypeError("wrong argument")

    assert faults.translate(bug) is bug
    with pytest.raises(TypeError), faults.translated():
        raise bug


def test_an_unsent_request_is_translated_by_its_cause() -> None:
    with (
        pytest.raises(errors.Unreachable) as caught,
        faults.translated(server="vc.example:443"),
    ):
        raise faults.NotSent from ConnectionRefusedError(111, "refused")

    assert isinstance(caught.value.__cause__, faults.NotSent)


def test_details_of_a_fault_are_shown() -> None:
    message = vmodl.LocalizableMessage(key="k", message="The host is in use")
    fault = vim.fault.InvalidHostState(msg="Not allowed", faultMessage=[message])

    assert "Not allowed; The host is in use" in str(faults.translate(fault))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_proxy_that_is_busy_may_be_asked_again(status: int) -> None:
    failure = http.client.HTTPException(f"{status} Whatever")
    assert isinstance(faults.translate(failure), errors.Unreachable)
