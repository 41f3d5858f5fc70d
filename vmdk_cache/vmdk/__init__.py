"""Converts an image's stream to the VMDK that vCenter accepts.

transfer.py           start here: the whole path of a stream
image_format.py       which files are accepted, and as what
read_ahead.py         Glance's bytes, read and hashed ahead of their use
byte_stream.py        those bytes by count: peek, read exactly, skip
ova.py                the disk inside an OVA
descriptor.py         the text inside a VMDK
sparse_extent.py      a VMDK's header, one compressed grain, a tally of grains
stream_optimized.py   check a streamOptimized VMDK as it passes; read one back; write one
front_tables.py       the grains of a VMDK whose tables precede them
disk_digest.py        whether two disks have the same content
"""
