"""Where a volume goes.

selection.py          which datastore and host take a volume
capacity.py           sums of sizes; space reserved for work that has not taken it yet
"""
