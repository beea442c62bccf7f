"""The NuGet V3 protocol as pure functions over values."""
