"""The server side: HTTP in front of feeds."""
