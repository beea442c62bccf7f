"""The first-seen log: which bytes every version had when it first came."""
