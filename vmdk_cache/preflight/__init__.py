"""``vmdk-cache preflight``: checks whether the cache will work with this vCenter and configuration.

    probe.py          a probe, its results, and the order in which probes run
    target.py         what the probes examine: one backend, its session, data read from vCenter
    configuration.py  names of options, ledger, workers, Glance
    coordination.py   locks
    connection.py     TLS, log-in, version, clock
    permission.py     privileges, object by object
    place.py          clusters, datastores, hosts, storage policies, the custom attribute
    checklist.py      all read-only probes, in order
    live.py           probes that import, clone, copy, move and delete, for ``--live``
    live_traces.py    probes of what an import leaves in vCenter
    live_target.py    what a live run has created, and how it is removed
    live_names.py, live_image.py    names of a live run, and its small disk
    report.py, redaction.py         the file for a bug report, and what is removed from it

Each probe has a stable id, such as ``privileges.datastore``, for use in documents and bug reports.
"""
