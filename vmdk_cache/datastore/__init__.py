"""Selects the place of a volume.

selection.py          selects the datastore and host of a volume
capacity.py           sums of sizes; space reserved for work in progress
"""
