"""A real OpenStack for tests and the demo: Cinder (API, scheduler, volume, backup) and Glance.

    config.py           what stands in glance-api.conf and cinder.conf
    service_process.py  a child process: its log, its readiness, its end
    glance.py           Glance under waitress (glance_process.py), uploads, downloads counted
    auth.py             who asks Cinder: users, projects and roles, as Keystone would tell them
    cinder.py           all of Cinder in one process (cinder_process.py), eventlet or native threads
    concurrency.py      which of the two there are, in the release of Cinder that is installed
    client.py           Cinder's REST API, as far as the tests use it
    openstack.py        both together in a temporary directory; start here

Nothing is imported here: ``python -m tests.e2e.stack.cinder_process`` passes through this file
before eventlet has patched the standard library.
"""
