"""Cinder options that the command line reads, for hosts without Cinder.

Names, types and defaults are those of Cinder 29 (cinder/volume/drivers/vmware/vmdk.py,
cinder/coordination.py, cinder/common/config.py, cinder/image/glance.py, cinder/service_auth.py,
cinder/volume/driver.py, cinder/scheduler); a test compares each with Cinder's own definition.
"""

from __future__ import annotations

from oslo_config import cfg

#: The driver whose backends have a cache.
DRIVER = "vmdk_cache.cinder.driver.ImageCacheVmdkDriver"
#: The driver that a backend may have been switched back to; its templates still exist.
PLAIN_DRIVER = "cinder.volume.drivers.vmware.vmdk.VMwareVcVmdkDriver"
DRIVERS = (DRIVER, PLAIN_DRIVER)

DEFAULT = [
    cfg.StrOpt("state_path", default="/var/lib/cinder"),
    cfg.ListOpt("enabled_backends"),
]
SCHEDULER = [
    cfg.StrOpt("scheduler_host_manager", default="cinder.scheduler.host_manager.HostManager"),
    cfg.ListOpt(
        "scheduler_default_filters",
        default=["AvailabilityZoneFilter", "CapacityFilter", "CapabilitiesFilter"],
    ),
    cfg.ListOpt("scheduler_default_weighers", default=["CapacityWeigher"]),
]
#: Option of oslo.messaging.
RPC = [cfg.IntOpt("executor_thread_pool_size", default=64, deprecated_name="rpc_thread_pool_size")]
COORDINATION = [cfg.StrOpt("backend_url", default="file://$state_path", secret=True)]
#: Prefix of the names of all locks of Cinder's coordinator.
LOCK_PREFIX = "cinder-"

BACKEND = [
    cfg.StrOpt("volume_driver", default="cinder.volume.drivers.lvm.LVMVolumeDriver"),
    cfg.StrOpt("vmware_host_ip"),
    cfg.PortOpt("vmware_host_port", default=443),
    cfg.StrOpt("vmware_host_username"),
    cfg.StrOpt("vmware_host_password", secret=True),
    cfg.StrOpt("vmware_ca_file"),
    cfg.BoolOpt("vmware_insecure", default=False),
    cfg.IntOpt("vmware_connection_pool_size", default=10),
    cfg.IntOpt("vmware_api_retry_count", default=10),
    cfg.StrOpt("vmware_volume_folder", default="Volumes"),
    cfg.MultiStrOpt("vmware_cluster_name"),
    cfg.MultiStrOpt("vmware_storage_profile"),
    cfg.StrOpt("vmware_datastore_regex"),
    cfg.IntOpt("vmware_image_transfer_timeout_secs", default=7200),
    cfg.StrOpt(
        "vmware_adapter_type",
        choices=["lsiLogic", "busLogic", "lsiLogicsas", "paraVirtual", "ide"],
        default="lsiLogic",
    ),
    cfg.StrOpt("volume_backend_name"),
    cfg.BoolOpt("vmware_enable_volume_stats", default=False),
    cfg.StrOpt("extra_capabilities", default="{}"),
    cfg.StrOpt("max_over_subscription_ratio", default="20.0", regex=r"^(auto|\d*\.\d+|\d+)$"),
]

#: Further options of Cinder's VMware driver, in any Cinder release that this package supports.
OTHER_VMWARE = (
    "vmware_host_version",
    "vmware_lazy_create",
    "vmware_max_objects_retrieval",
    "vmware_snapshot_format",
    "vmware_task_poll_interval",
    "vmware_tmp_dir",
    "vmware_wsdl_location",
)

GLANCE = [
    cfg.StrOpt(
        "auth_strategy",
        choices=["noauth", "noauth_include_project_id", "keystone"],
        default="keystone",
    ),
    cfg.ListOpt("glance_api_servers"),
    cfg.StrOpt("glance_catalog_info", default="image:glance:publicURL"),
    cfg.BoolOpt("glance_api_insecure", default=False),
    cfg.StrOpt("glance_ca_certificates_file"),
    cfg.StrOpt("glance_certfile"),
    cfg.StrOpt("glance_keyfile"),
    cfg.IntOpt("glance_request_timeout"),
]
GLANCE_SECTION = [cfg.StrOpt("region_name")]
SERVICE_USER = [cfg.BoolOpt("send_service_user_token", default=False)]
#: Timeout of one response, or of one pause in a download, if ``glance_request_timeout`` is unset:
#: the default of python-glanceclient.
GLANCE_TIMEOUT_S = 600
