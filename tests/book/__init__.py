"""The book that ``make docs`` builds, as readers see it."""
