"""Volumes are created and deleted for hours, with faults: does anything grow that should not?

make soak                            10,000 volumes
python -m tests.soak --help          more of them, another seed

workload.py      creates, deletes, lets templates expire; has faults happen
vcenter_side.py  what of it runs in the fake vCenter's process
readings.py      memory, threads, descriptors, sessions, sizes: read and compared
__main__.py      the table that is printed
test_soak.py     a short one
"""
