"""Upstream's documents, in diskcache: a pure cache."""
