"""What the page shows, as values that can be written as JSON."""
