"""The cache brain: RFC 9110/9111 as pure functions over values."""
