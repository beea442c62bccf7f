"""Jobs are the second customer of feeds, beside the server."""
