"""A folder of packages that somebody else fills."""
