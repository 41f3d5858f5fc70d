"""The client and the fake against what real vCenters said.

recordings.py         reads the recordings, which are not part of this repository

Of the client:

replay.py             a server that answers as a recorded vCenter did
exchange_replay.py    a recorded request, sent again by our session
object_files.py       a recorded inventory, object by object
leaves.py             whether all of an answer was read

Of the fake, which test_fake.py tests:

recorded_client.py    sends it the recorded requests
inventories.py        gives it an inventory like the recorded one
shapes.py             what of two answers is compared
named_differences.py  what it answers otherwise, and why
"""
