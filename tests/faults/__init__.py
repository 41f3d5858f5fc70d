"""The fault matrix: every call of every operation, with every fault that can be its answer.

    coordinator.py   a coordinator of locks that can fail
    world.py         one vCenter, one image, processes of the cache
    operations.py    what the cache does: the rows
    recording.py     the calls of an operation's clean run: the columns
    faults.py        what can go wrong at a call
    matrix.py        cells: operation x call x fault
    cell.py          runs one cell and judges what is left
    worker.py        a share of the matrix, in its own process
    document.py      writes docs/faults.rst from the results of a complete run

``make faults`` runs all cells; ``make test-all`` runs a part of them (test_matrix.py).
"""
