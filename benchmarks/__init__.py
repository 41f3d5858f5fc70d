"""How fast the cache is: ``python -m benchmarks [ROW ...]`` or ``make bench``.

Every row of docs/performance.rst is one file of ``rows/``. A row starts a fake vCenter in its own
process, runs clients against it, each in its own fresh process, and compares what they needed with
a bar. The server counts requests on arrival. Times are only compared within one run: rounds of ours
and of a peer alternate, and the medians are divided.

    __main__.py        which rows to run; the table on the screen
    row.py             what a row is and what it returns
    rows/              one file per row
    clients/           code for fresh processes: the cache, and the peers that it is compared with
    fresh_process.py   a client's process: prepares, runs rounds, returns its result
    vcenter_process.py the fake vCenter in its own process; population.py fills it
    image_server.py    replaces Glance: an HTTP server that sends an image and counts downloads
    results.py         results/results.json, and the machine that they were measured on
    pictures.py        results/*.png
    document.py        the tables of docs/performance.rst
"""
