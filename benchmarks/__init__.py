"""How fast the cache is: ``python -m benchmarks [ROW ...]`` or ``make bench``.

Every row of docs/performance.rst is one file of ``rows/``. A row starts a fake vCenter in a process
of its own, lets clients work on it, each in a fresh process of its own, and compares what they
needed with a bar. Requests are counted where they arrive, at the server. Times are only compared
within one run: rounds of ours and of a peer take turns, and the medians are divided.

    __main__.py        which rows to run; the table on the screen
    row.py             what a row is and what it returns
    rows/              one file a row
    clients/           what a fresh process does: the cache, and the peers that it is compared with
    fresh_process.py   a client's process: prepared, then told to go, then asked for its result
    vcenter_process.py the fake vCenter in a process of its own; population.py fills it
    image_server.py    Glance's part: an HTTP server that sends an image and counts who asked
    results.py         results/results.json, and the machine that they were measured on
    pictures.py        results/*.png
    document.py        the tables of docs/performance.rst
"""
