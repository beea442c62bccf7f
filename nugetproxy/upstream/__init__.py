"""The client side: everything that talks to an upstream feed."""
