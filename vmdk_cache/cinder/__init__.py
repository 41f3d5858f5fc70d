"""What Cinder loads: the volume driver, and the scheduler's host manager and weigher.

The only package here that imports Cinder; everything below it works without.
"""

#: What the driver reports and a volume type may ask for: whether ``enable_image_cache`` is true.
#: Not whether the cache can be reached now: a volume must not lack a backend for that.
CAPABILITY = "image_cache"
#: What the driver reports and the host manager adds: capacity of the templates, in GiB.
EXTRA_KEY = "extra_provisioned_capacity_gb"
#: What the driver reports and the weigher reads: Glance ids of the images in the cache, those used
#: last first, and who may ask for the cache (``image_cache_opt_in``). Only with the cache enabled.
IMAGES_KEY = "cached_image_ids"
OPT_IN_KEY = "image_cache_opt_in"
