"""The vCenter client. Only this package imports pyVmomi.

Its interface uses managed object ids (``str``, e.g. ``vm-42``), frozen dataclasses and errors of
:mod:`vmdk_cache.errors`. Start reading at ``session.py`` (one connection), then ``properties.py``
(bulk reads), ``task.py`` (waiting), ``inventory_index.py`` (what is kept in memory), and the nouns:
``inventory.py``, ``template.py``, ``import_lease.py``, ``storage_policy.py``.
"""
