"""Fakes with behaviour: what the tests run against in place of the real services."""
