"""The package folder: stage, commit, open, verify, walk, evict."""
