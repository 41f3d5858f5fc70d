"""One backend as its section of cinder.conf describes it.

The volume driver and the command line must agree on all of this: where the templates are, their
names, and the locks that keep two processes from working on the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vmdk_cache.cache.key import folder_name
from vmdk_cache.conf import HasOptions
from vmdk_cache.vim.endpoint import Endpoint

#: ``managedBy`` of Cinder's VMs: extension key (cinder, vmdk.EXTENSION_KEY) and type.
MANAGED_BY = ("org.openstack.storage", "volume")


@dataclass(frozen=True)
class Backend:
    """The properties of a backend that its cache needs.

    :ivar name: section name in the configuration; names the cache's folder and templates
    :ivar folder: inventory path of the cache's folder below a datacenter's VM folder
    :ivar clusters: cluster names, empty for every host
    :ivar datastore_regex: matches the names of the datastores to use; None for all
    :ivar task_timeout_s: time limit of one clone or import
    :ivar managed_by: extension key and type of the VMs, or None
    :ivar deployment: id of the cloud, which distinguishes its templates from another cloud's
    """

    name: str
    endpoint: Endpoint
    folder: tuple[str, ...]
    clusters: Sequence[str] = ()
    datastore_regex: str | None = None
    task_timeout_s: float = 7200.0
    managed_by: tuple[str, str] | None = None
    deployment: str = ""

    @classmethod
    def from_options(cls, name: str, options: HasOptions, derived_id: Callable[[], str]) -> Backend:
        """:param options: options of the section ``name``, with Cinder's ``vmware_*`` options
        :param derived_id: returns the deployment's id if the section sets none
        """
        return cls(
            name=name,
            endpoint=_endpoint(options),
            folder=project_folder(options, folder_name(name)),
            clusters=tuple(options.vmware_cluster_name or ()),
            datastore_regex=options.vmware_datastore_regex,
            task_timeout_s=options.vmware_image_transfer_timeout_secs,
            managed_by=MANAGED_BY,
            deployment=options.image_cache_deployment_id or derived_id(),
        )

    @property
    def lock_scope(self) -> str:
        """The scope in which the names of this backend's locks are unique.

        It does not contain the deployment: its id may change, and processes from before and after
        the change must still share their locks.
        """
        return f"{self.endpoint.server}/{self.name}"


def project_folder(options: HasOptions, project_id: str) -> tuple[str, ...]:
    """The project's folder, as VMwareVcVmdkDriver._get_volume_group_folder names it."""
    return ("OpenStack", f"Project ({project_id})", options.vmware_volume_folder)


def _endpoint(options: HasOptions) -> Endpoint:
    # As in oslo.vmware: vmware_insecure is ignored if there is a CA file.
    ca_file = options.vmware_ca_file
    return Endpoint(
        host=options.vmware_host_ip,
        user=options.vmware_host_username,
        password=options.vmware_host_password,
        port=options.vmware_host_port,
        ca_file=ca_file,
        insecure=bool(options.vmware_insecure) and not ca_file,
        # Upstream accepts values below one and treats them as one.
        pool_size=max(1, options.vmware_connection_pool_size),
        api_retry_count=max(1, options.vmware_api_retry_count),
    )
