"""What the package folder holds: metadata with full-text search, in SQLite; rebuildable."""
