"""test_green_threads.py runs this in its own process: vim/ under eventlet's monkey-patching.

Arguments: host port user password ca_file. Prints the number of clones and how often another green
thread ran meanwhile.
"""

import eventlet

eventlet.monkey_patch()

import io  # noqa: E402
import sys  # noqa: E402

from tests.contract.vim.conftest import (  # noqa: E402
    IMAGE,
    MIB,
    RECORD_KEY,
    Place,
    clone_request,
    import_request,
)
from vmdk_cache.vim import folder, import_lease, inventory, template, virtual_machine  # noqa: E402
from vmdk_cache.vim.session import Endpoint, Session  # noqa: E402
from vmdk_cache.vim.task import TaskWaiter  # noqa: E402


def main(host: str, port: str, user: str, password: str, ca_file: str) -> None:
    ticks = [0]

    def tick() -> None:
        while True:
            ticks[0] += 1
            eventlet.sleep(0.001)

    ticker = eventlet.spawn(tick)
    with Session(Endpoint(host, user, password, int(port), ca_file)) as session:
        waiter = TaskWaiter(session)
        found = inventory.snapshot(session)
        own = folder.ensure_folder(session, found.datacenters[0], ["tests"])
        place = Place(own, found.hosts[0], found.datastores[0], found.datacenters[0])
        with import_lease.open_import(
            session, waiter, place.host.pool, own, place.host.moref, import_request(place)
        ) as held:
            held.upload(io.BytesIO(IMAGE.file_bytes), None)
            held.complete()
        template.mark_as_template(session, held.vm)
        source = virtual_machine.get_vm(session, held.vm, RECORD_KEY)
        assert source is not None

        def make(number: int) -> str:
            request = clone_request(place, source, f"volume-{number}")
            moref = template.clone(session, waiter, source.moref, request, timeout_s=60)
            template.finish_clone(session, waiter, moref, 2 * MIB, forbidden_key=RECORD_KEY)
            return moref

        made = list(eventlet.GreenPool(30).imap(make, range(30)))
        waiter.close()
    ticker.kill()
    print(len(set(made)), ticks[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
