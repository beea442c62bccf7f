"""The one place where store and upstream meet."""
