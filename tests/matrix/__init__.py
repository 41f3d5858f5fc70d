"""The package with every Cinder, Python and kind of threads that it is for: ``make matrix``.

cells.py         the table of what is supported; pure
environment.py   a virtual environment per release of Cinder and Python, under .tools/matrix
trial.py         what is run in each cell, and what came of it
"""
