"""Probes: clusters, hosts, datastores and storage policies, and uploads to the hosts."""

from __future__ import annotations

import difflib
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from vmdk_cache import errors
from vmdk_cache.cache.record import ATTRIBUTE, PIN_ATTRIBUTE
from vmdk_cache.datastore.selection import NAME_DIFFERS
from vmdk_cache.preflight.probe import Finding, Status, failed, not_tried, ok, warning
from vmdk_cache.preflight.target import GIB, Target
from vmdk_cache.quoting import identifier, quoted, sentence
from vmdk_cache.vim.custom_attribute import CustomAttributes
from vmdk_cache.vim.inventory import Datastore, HostAddress
from vmdk_cache.vim.server_certificate import check_thumbprint, handshake, unverified

#: Maximum number of concurrent connections to hosts.
_AT_A_TIME = 32
_NAMES_SHOWN = 10


def clusters(target: Target) -> Iterator[Finding]:
    """Check the clusters of ``vmware_cluster_name``, or all clusters."""
    hosts = target.inventory.hosts
    names = sorted(set(target.cluster_names.values()))
    if not hosts:
        yield failed(
            "the account sees no host in the clusters",
            "grant its role on the datacenter, with propagation; check vmware_cluster_name",
        )
        return
    yield ok(f"{len(hosts)} hosts in {_listed(names)}")


def hosts(target: Target) -> Iterator[Finding]:
    """Check each host's connection to vCenter."""
    for host in target.inventory.hosts:
        name = identifier(host.name)
        if not host.connected:
            yield warning(
                "not connected to vCenter: the host gets no volumes", "reconnect it", name
            )
        elif host.in_maintenance:
            yield warning("in maintenance mode: the host gets no volumes", "", name)
        else:
            product = target.host_addresses[host.moref].product
            yield ok(f"connected, {sentence(product)}" if product else "connected", name)


def transfer(target: Target) -> Iterator[Finding]:
    """Check each host's port for uploads from this host, and the certificate that vCenter
    expects."""
    usable = [each for each in target.inventory.hosts if each.connected and not each.in_maintenance]
    addresses = [target.host_addresses[each.moref] for each in usable]
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        findings = list(pool.map(lambda address: _reached(target, address), addresses))
    if any(each.status is Status.FAILED for each in findings) and target.is_simulator:
        yield not_tried("the hosts of govmomi's simulator do not really exist")
    else:
        yield from findings


def _reached(target: Target, address: HostAddress) -> Finding:
    endpoint, name = target.session.endpoint, identifier(address.name)
    server = f"{address.name}:{address.port}"
    pinned = bool(address.thumbprint) and not endpoint.insecure
    context = unverified() if pinned else target.session.ssl_context
    try:
        certificate = handshake(address.name, address.port, context, endpoint.connect_timeout_s)
        if pinned:
            check_thumbprint(certificate, address.thumbprint, identifier(server))
    except errors.CertificateRefused as refused:
        return failed(
            str(refused),
            "find out which system answers there; if the host has a new certificate, disconnect it "
            "from vCenter and reconnect it",
            name,
        )
    except ssl.SSLCertVerificationError as refused:
        return failed(
            "vCenter has no thumbprint of the host, and the host's certificate is not trusted: "
            f"{sentence(refused.verify_message)}",
            "add the issuer of the host's certificate to vmware_ca_file",
            name,
        )
    except (OSError, ValueError) as failure:
        why = "no answer in time" if isinstance(failure, TimeoutError) else sentence(failure)
        return failed(
            f"{identifier(server)} cannot be reached from this host: {why}",
            "make sure that this host can resolve the ESXi host's name and reach its TCP port 443: "
            "images are uploaded there",
            name,
        )
    vouched = "the certificate that vCenter expects" if pinned else "a certificate"
    return ok(f"{identifier(server)} answers with {vouched}", name)


def datastores(target: Target) -> Iterator[Finding]:
    """Report each datastore and whether placement uses it."""
    decisions = target.datastore_decisions
    if not decisions:
        yield failed(
            "the clusters have no datastore",
            "mount one on their hosts, and grant the account its role there",
        )
    for datastore, reason in decisions:
        yield _decided(datastore, reason)
    if decisions and not target.usable_datastores:
        yield failed(
            "no datastore can be used for volumes",
            "see the reason for each datastore; check vmware_datastore_regex",
        )


def _decided(datastore: Datastore, reason: str | None) -> Finding:
    free = f"{datastore.free_bytes / GIB:.0f} of {datastore.capacity_bytes / GIB:.0f} GiB free"
    kind = f"{sentence(datastore.type)}, {free}"
    name = identifier(datastore.name)
    if reason is None:
        return ok(f"used: {kind}", name)
    if reason == NAME_DIFFERS:
        return ok(f"not used: {reason}", name)
    return warning(
        f"not used: {reason} ({kind})", "correct this if the datastore should get volumes", name
    )


def policies(target: Target) -> Iterator[Finding]:
    """Check whether storage policies can be read."""
    try:
        names = target.policy_names
    except errors.VCenterError as failure:
        yield warning(
            f"storage policies cannot be read: {failure}",
            "grant StorageProfile.View at the root of the inventory, and make vCenter's /pbm "
            "reachable from this host; until then volume types with vmware:storage_profile cannot "
            "be served",
        )
        return
    yield ok(
        f"{len(names)} storage policies: {_listed(names)}"
        if names
        else "no storage policy is defined"
    )


def profiles(target: Target) -> Iterator[Finding]:
    """Check whether the storage policies in ``vmware_storage_profile`` exist."""
    wanted, section = target.surroundings.storage_profiles, f"[{target.backend.name}]"
    if not wanted:
        yield ok("vmware_storage_profile is unset: the capacity of every datastore counts")
        return
    try:
        existing = target.policy_names
    except errors.VCenterError:
        yield not_tried("storage policies cannot be read")
        return
    missing = [name for name in dict.fromkeys(wanted) if name not in existing]
    if not missing:
        yield ok(f"vCenter has {_listed(list(wanted))}")
    elif not target.surroundings.scheduling.stats:
        say, so = warning, "no effect while vmware_enable_volume_stats is false"
    elif len(missing) < len(set(wanted)):
        say, so = warning, "the capacity of its datastores does not count"
    else:
        say, so = (
            failed,
            "no capacity is reported, and the scheduler sends no volumes to this backend",
        )
    for name in missing:
        nearest = difflib.get_close_matches(name, existing, 1)
        hint = f"did you mean {quoted(nearest[0])}? " if nearest else ""
        yield say(
            f"vCenter has no such storage policy: {so}",
            f"{hint}correct vmware_storage_profile in {section}, or create the policy",
            quoted(name),
        )


def attribute(target: Target) -> Iterator[Finding]:
    """Check the custom attributes that record a template's last use, and who pinned it."""
    for name, first, lost in (
        (
            ATTRIBUTE,
            "import",
            "only one process knows a template's last use and changes of its disk",
        ),
        (PIN_ATTRIBUTE, "pin", "no image can be pinned"),
    ):
        for_vms = CustomAttributes.of(target.session).is_for_vms(name)
        if for_vms is None:
            yield ok(f"{name} is not defined yet; the first {first} defines it")
        elif for_vms:
            yield ok(f"{name} is defined for virtual machines")
        else:
            yield warning(
                f"{name} is defined for another type of object",
                f"rename that definition, or make it global; until then {lost}",
            )


def _listed(names: list[str]) -> str:
    shown = ", ".join(quoted(name) for name in names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
