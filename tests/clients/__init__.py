"""Clients of vCenter that were not written here, on the fake vCenter."""
