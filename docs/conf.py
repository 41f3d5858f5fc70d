"""Sphinx's settings: `make docs`. Nothing here needs a network."""

from __future__ import annotations

import pathlib
import sys

import vmdk_cache

sys.path.insert(0, str(pathlib.Path(__file__).parent / "extensions"))

project = "vmdk_cache"
project_copyright = "the authors of vmdk_cache"
release = vmdk_cache.__version__

extensions = ["commands", "oslo_config.sphinxext", "reno.sphinxext", "sphinx_copybutton"]
exclude_patterns = ["_build"]
nitpicky = True
smartquotes = False  # "--fix" is what is to be typed
# What the words of other projects' help texts refer to is not in this book.
nitpick_ignore_regex = [("envvar", ".*")]

# `make links`: hosts of examples, and services that run only at the reader's.
linkcheck_ignore = [
    r"https?://(127\.0\.0\.1|localhost|controller)\b",
    r"https?://([\w-]+\.)*example\.(com|org)\b",
]
linkcheck_timeout = 20
linkcheck_retries = 2

highlight_language = "console"  # of blocks that name none: commands, mostly

html_theme = "furo"
html_title = "vmdk_cache"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_theme_options = {"navigation_with_keys": True}
html_copy_source = False

# A copy button takes what is to be typed, without the prompt and without the output.
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
