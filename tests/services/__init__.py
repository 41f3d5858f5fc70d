"""Servers from Debian that tests start for themselves: on loopback, in a directory that goes with
them, whatever the distribution's own services do or do not do.

    program.py      any such server: found or skipped, started, awaited, surely ended
    etcd.py         etcd-server, a coordinator of locks
    redis.py        redis-server, another
    rabbitmq.py     rabbitmq-server, Cinder's message broker
    postgresql.py   postgresql, Cinder's database
"""
