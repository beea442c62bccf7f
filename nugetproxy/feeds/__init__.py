"""Published feeds: what we offer, made from what upstreams said."""
