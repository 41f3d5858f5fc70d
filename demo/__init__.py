"""``python -m demo``: the whole path of the image cache on a real Cinder and a real Glance.

Needs only the installed package: vCenter is the fake of tests/fakes/vcenter. story.py tells the
story, proofs.py proves it, and screen.py prints it. ``python -m demo.play`` keeps such a stack,
playground.py, running for commands of your own.
"""
