"""Sphinx's settings: `make docs`. Nothing here needs a network."""

from __future__ import annotations

import importlib.metadata
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "extensions"))

project = "vmdk_cache"
project_copyright = "the authors of vmdk_cache"
release = importlib.metadata.version("vmdk-cache")

extensions = ["commands", "oslo_config.sphinxext", "reno.sphinxext"]
exclude_patterns = ["_build"]
nitpicky = True
smartquotes = False  # "--fix" is what is to be typed
# What the words of other projects' help texts refer to is not in this book.
nitpick_ignore_regex = [("envvar", ".*")]

html_theme = "alabaster"
html_theme_options = {
    "description": "Cinder volumes on VMware from cached templates",
    "fixed_sidebar": True,
    "show_powered_by": False,
}
html_sidebars = {"**": ["about.html", "navigation.html", "searchbox.html"]}
html_copy_source = False
