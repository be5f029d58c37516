"""Settings of Sphinx."""

import dynlab

project = "dynlab"
author = "The dynlab maintainers"
release = dynlab.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
add_module_names = False
