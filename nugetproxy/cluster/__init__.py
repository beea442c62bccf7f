"""What several replicas share: a bucket, a coordinator, both optional, both failing open."""
