"""Signatures of packages: who signed what, whether it is so."""
