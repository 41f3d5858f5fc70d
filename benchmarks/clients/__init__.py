"""Code that runs in a fresh process: ``function(go, endpoint=..., ...)``, see fresh_process.py.

cache.py is ours. The peers: bare_pyvmomi.py (two tasks per volume and nothing else: the floor),
upstream.py (Cinder's own driver, unmodified), prior_art.py (the cache that was proposed for Cinder
before this one, whose flow is rebuilt on upstream for these measurements only).
"""
