"""Converts an image's stream to the VMDK that vCenter accepts.

transfer.py           start here: the whole path of a stream
image_format.py       which files are accepted, and as what
read_ahead.py         Glance's bytes, read and hashed ahead of their use
byte_stream.py        those bytes by count: peek, read exactly, skip
unusual.py            the error for an image that only the plain import may read
ova.py                the disk inside an OVA
sparse_header.py      the header of a VMDK's sparse extent
descriptor.py         the text inside a VMDK
grain.py              check one compressed grain
stream_optimized.py   check a streamOptimized VMDK as it passes; write one
front_tables.py       the grains of a VMDK whose tables precede them
disk_reader.py        the disk inside a VMDK, read back
"""
