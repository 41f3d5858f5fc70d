"""``python -m demo``: the whole path of the image cache on a real Cinder and a real Glance.

Needs nothing but the installed package: vCenter is the fake of tests/fakes/vcenter. The story is
in story.py, what is proved in proofs.py, what it looks like in screen.py.
"""
