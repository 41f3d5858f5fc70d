"""How an image's stream becomes the VMDK that vCenter takes.

transfer.py           start here: the whole way of a stream
image_format.py       which files are taken, and as what
read_ahead.py         Glance's bytes, read and hashed ahead of their use
byte_stream.py        those bytes by count: peek, read exactly, skip
unusual.py            the verdict on an image that only the plain import may read
ova.py                the disk inside an OVA
sparse_header.py      the header of a VMDK's sparse extent
descriptor.py         the text inside a VMDK
grain.py              whether a compressed grain is whole
stream_optimized.py   check a streamOptimized VMDK as it passes; write one
front_tables.py       the grains of a VMDK whose tables precede them
disk_reader.py        the disk inside a VMDK, read back
"""
