"""One feed's documents made of those of several sources."""
