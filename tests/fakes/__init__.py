"""Fakes with behavior that the tests run against instead of the real services."""
