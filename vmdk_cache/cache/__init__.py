"""The engine, in the order in which to read it.

engine.py          a request for a volume: look up, import once, clone
volume_request.py  its state, and what it does after a clone has failed
admission.py       the images that the cache accepts
importer.py        the first copy of an image (single_flight.py, fresh_disk.py)
room.py            the limits hold before an import
clone_queue.py     waits for a slot and a copy; clone_order.py decides
replication.py     further copies, made in the background
eviction_plan.py   which templates to remove, and why
evictor.py         removes one of them; templates_in_use.py protects those in use
entry.py           a VM in the cache's folder, and its life; key.py names it
record.py          what is written on it; usage.py notes its uses
pin.py             an operator's wish to keep an image; pinning.py notes it
findings.py        what can be wrong with it
ports.py           what the engine needs of vCenter and Glance
context.py         what all parts share
events.py          what they report; capacity.py sums up sizes
"""
