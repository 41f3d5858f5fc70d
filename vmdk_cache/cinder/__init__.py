"""What Cinder loads: the volume driver and the scheduler's host manager.

The only package here that imports Cinder; everything below it works without.
"""

#: What the driver reports and the host manager adds: capacity of the templates, in GiB.
EXTRA_KEY = "extra_provisioned_capacity_gb"
