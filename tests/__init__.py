"""Tests; see README.md for how to run them."""

# Before Cinder's eventlet changes what it needs; the module says why.
import tests.fakes.web_server  # noqa: F401
