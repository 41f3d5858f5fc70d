"""A real OpenStack for tests and the demo: Cinder (API, scheduler, volume, backup) and Glance.

    config.py           the content of glance-api.conf and cinder.conf
    service_process.py  a child process: its log, its readiness, its end
    glance.py           Glance under waitress (glance_process.py), uploads, downloads counted
    auth.py             the callers of Cinder: users, projects and roles, in Keystone's headers
    cinder.py           all of Cinder in one process (cinder_process.py), eventlet or native threads
    concurrency.py      which of the two the installed release of Cinder supports
    client.py           Cinder's REST API, as far as the tests use it
    cinder_hosts.py     Cinder with a process for each service (cinder_service.py)
    openstack.py        Cinder in one process and Glance in a temporary directory; start here

This file imports nothing: ``python -m tests.e2e.stack.cinder_process`` loads it before eventlet has
patched the standard library.
"""
