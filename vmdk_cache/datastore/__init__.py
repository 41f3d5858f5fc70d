"""Where a volume goes."""
