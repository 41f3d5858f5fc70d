"""``vmdk-cache preflight``: will the cache work with this vCenter, account and configuration?

    probe.py          a probe, its results, and the order in which probes run
    target.py         what the probes look at: one backend, its session, what was read of vCenter
    configuration.py  names of options, ledger, workers, Glance
    coordination.py   locks
    connection.py     TLS, log-in, version, clock
    permission.py     privileges, object by object
    place.py          clusters, datastores, hosts, storage policies, the custom attribute
    checklist.py      all that only read, in order
    live.py           those that import, clone, copy, move and delete, for ``--live``
    live_traces.py    those that look at what an import leaves in vCenter
    live_target.py    what a live run has made, and how that is removed
    live_names.py, live_image.py    names of a live run, and its disk of some MiB
    report.py, redaction.py         a file for a bug report, and what is taken out of it

A probe has a stable id, such as ``privileges.datastore``, to which
documents and bug reports refer.
"""
