"""What Cinder loads: the volume driver and the scheduler's host manager.

The only package here that imports Cinder; everything below it works without.
"""
