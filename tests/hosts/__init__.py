"""Several hosts on one vCenter: a process each, with a host name and a lock directory of its own,
and with the coordinator of locks that an operator gives them, or none in common.

    host.py               what such a process does: make the volumes that it is sent, keep house
    cloud.py              who sends them: Cinder's part; kills hosts and starts them again
    test_killed_hosts.py  what must hold, whichever host is killed and when
"""
