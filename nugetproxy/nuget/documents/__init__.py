"""The documents of the NuGet V3 protocol: read, checked, rewritten."""
