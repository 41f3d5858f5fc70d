"""The parts that Cinder loads: the volume driver, and the scheduler's host manager and weigher.

Only this package imports Cinder; everything below it works without Cinder.
"""

#: Capability that the driver reports and a volume type may require: whether ``enable_image_cache``
#: is true. It does not depend on whether the cache is available now, so that a volume never lacks a
#: backend for that reason.
CAPABILITY = "image_cache"
#: The templates' capacity in GiB, which the driver reports and the host manager adds.
EXTRA_KEY = "extra_provisioned_capacity_gb"
#: The values of ``image_cache_opt_in``, which the driver reports for the weigher if the cache is
#: enabled.
OPT_IN_KEY = "image_cache_opt_in"
