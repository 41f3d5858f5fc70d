"""What happens by the clock: each task plans first, then acts."""
