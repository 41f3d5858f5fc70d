"""``vmdk-cache preflight``: checks whether the cache will work with this vCenter and configuration.

    probe.py          a probe, its findings, and how probes run in order
    target.py         what the probes examine: one backend, its session, data read from vCenter
    checklist.py      all read-only probes, in order; their modules:
    configuration.py  names of options, ledger, workers, Glance
    scheduling.py     what the scheduler needs to find the backend
    coordination.py   locks
    connection.py     TLS, log-in, version, clock
    place.py          clusters, datastores, hosts, storage policies, the custom attribute
    privileges.py     the table of privileges, and what the account lacks, object by object
    live.py           probes that import, clone, copy, move and delete, for ``--live``
    live_target.py    what a live run creates, and how it is removed; live_image.py: its small disk
    report.py         the file for a bug report; redaction.py: what is removed from it

Each probe has a stable id, such as ``privileges.datastore``, for use in documents and bug reports.
"""
