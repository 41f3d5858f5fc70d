"""Where a volume goes, and how an image's stream becomes a disk.

path.py               "[datastore] directory/file"
selection.py          which datastore and host take a volume
capacity.py           sums of sizes; space promised and not yet taken
transfer.py           start here: an image's stream as the VMDK that vCenter takes
image_format.py       which files are taken, and as what
read_ahead.py         Glance's bytes, read and hashed ahead of their use
byte_stream.py        those bytes by count: peek, read exactly, skip
unusual.py            the verdict on what only the plain import may read
ova.py                the disk inside an OVA
sparse_header.py      the header of a VMDK's sparse extent
descriptor.py         the text inside a VMDK
grain.py              whether a compressed grain is whole
stream_optimized.py   check a streamOptimized VMDK as it passes; write one
front_tables.py       the grains of a VMDK whose tables stand in front of them
"""
