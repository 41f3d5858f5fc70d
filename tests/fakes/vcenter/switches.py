"""Behavior of a real vCenter that documents leave open; tests try both sides.

For each, docs/assumptions.rst says what the engine assumes, and what happens if that is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: What a vCenter does with an edit of a disk in CloneSpec.config.
InClone = Literal["kept", "ignored", "refused"]


@dataclass
class Switches:
    """Set these on `VCenter.switches`, before or while the fake runs.

    :param destroy_during_clone: Destroy_Task of a template that is being cloned either fails with
        TaskInProgress ("task_in_progress") or waits for the clones ("queue")
    :param clone_inherits_custom_values: whether a clone gets its source's custom attributes
    :param file_locked_after_import_s: seconds after an import during which clones of the new VM
        fail with FileLocked, as seen on vCenter 8.0 U1 (0: never)
    :param disk_capacity_in_clone: what happens to a larger disk in CloneSpec.config: "kept" (CAPV,
        Ansible and Packer grow disks this way), "ignored", or "refused" with InvalidDeviceSpec
        (unconfirmed)
    :param disk_uuid_in_clone: the same for another uuid of the disk (unconfirmed: those clients
        send the source's own uuid, and their clones get a new one)
    :param clone_sets_create_date: whether a clone gets its own createDate; otherwise it shows its
        source's
    :param stale_vm_storage_s: seconds for which perDatastoreUsage of a new VM still shows zero (0:
        right at once)
    :param disks_have_content_ids: whether backings show a contentId ("if available", vSphere API
        reference; recorded on 8.0.3)
    :param copies_keep_content_ids: whether a full copy of a disk (a clone, a storage vMotion) keeps
        its source's contentId; otherwise it gets one of its own (unconfirmed either way)
    :param storage_look_s: seconds between RefreshStorageInfo, which returns at once, and the moment
        when vCenter looks at the files (0: it looks before it returns); the reference does not say
        which
    :param lease_cleanup_s: seconds that vCenter takes to remove the VM of an import that was
        aborted, timed out or failed; never during the request that ends the import (sapcc/nova
        4dec35ff75)
    :param lease_cleanup: whether that VM is "visible" until then, with its task running, or
        "hidden": no client finds it, although its name is still taken (sapcc/nova saw the latter)
    :param stream_end_required: whether an upload without an end-of-stream marker is refused, as
        ESXi does (a report to QEMU, gitlab.com/qemu-project/qemu/-/issues/1357: accepted as soon as
        a sector of zeros was appended; flatcar/scripts#540: 400 Bad Request). Files of qemu-img
        have such a sector only if zeros pad a last grain that compresses well
    :param oldest_stream_version: lowest accepted version in an upload's header (3: a report on
        ESXi, glennmatthews/cot#65: "sparse VMDK version too old")
    :param refused_stream_fails_lease: whether an upload that is refused with HTTP 400 ends its
        lease with an error; otherwise HttpNfcLeaseComplete succeeds and leaves a disk of 4096000
        bytes, as seen by clients that do not read the host's answer (sapcc/nova a8673e00d8)
    :param nfc_host: host name in a lease's URLs (None: the name by which the client called
        vCenter); a real lease names an ESXi host
    :param nfc_thumbprint: thumbprint of the host's certificate in the lease (None: the right one)
    :param exports_templates: whether ExportVm takes a template, or fails with NotSupported. The API
        reference names no such fault for ExportVm, as it does for other methods, and Packer
        (hashicorp/packer-plugin-vsphere, builder/vsphere/iso) exports after MarkAsTemplate; users
        who looked for a way found none (vmware/pyvmomi-community-samples#706)
    :param extended_disks_show_at_once: whether a VM shows the new capacity of a disk that
        ExtendVirtualDisk_Task has extended; otherwise only after Reload, which SAP's nova fork
        calls for this reason (unconfirmed)
    :param datastore_paths: how a path contains a datastore's name with "/", "\\" or "%": "escaped",
        like the property `name` (govmomi and Cinder build paths from it), or "plain". The API
        reference, Datastore, only says that the name in a path has none of these characters
        (unconfirmed)
    :param long_poll_keeps_session: whether an outstanding WaitForUpdatesEx keeps its session alive
    :param cookie_with: which answer sets the cookie of a client without one: that of "login", even
        if it fails (recordings of 6.0, 6.5, 8.0.3 and 9.0.1), or its "first_answer" (5.5)
    :param task_error_late_s: seconds for which a failed task has the state "error" but no error, as
        on busy vCenters (ansible-vsphere 13, Salt 28511); 0: never
    :param retrieve_page_limit: objects in one answer of RetrievePropertiesEx, whatever the client
        allows (unconfirmed)
    :param update_page_limit: objects in one answer of WaitForUpdatesEx, whatever the client allows
        (100: a recording of vpxd 5.5, and govmomi's simulator; that it may be less than the client
        allows: vSphere API reference, WaitOptions)
    """

    destroy_during_clone: Literal["task_in_progress", "queue"] = "task_in_progress"
    clone_inherits_custom_values: bool = True
    file_locked_after_import_s: float = 0.0
    disk_capacity_in_clone: InClone = "kept"
    disk_uuid_in_clone: InClone = "ignored"
    clone_sets_create_date: bool = True
    stale_vm_storage_s: float = 0.0
    disks_have_content_ids: bool = True
    copies_keep_content_ids: bool = True
    storage_look_s: float = 0.0
    lease_cleanup_s: float = 0.0
    lease_cleanup: Literal["visible", "hidden"] = "visible"
    stream_end_required: bool = True
    oldest_stream_version: int = 3
    refused_stream_fails_lease: bool = False
    nfc_host: str | None = None
    nfc_thumbprint: str | None = None
    exports_templates: bool = True
    extended_disks_show_at_once: bool = True
    datastore_paths: Literal["escaped", "plain"] = "escaped"
    long_poll_keeps_session: bool = True
    cookie_with: Literal["login", "first_answer"] = "login"
    task_error_late_s: float = 0.0
    retrieve_page_limit: int = 1000
    update_page_limit: int = 100
