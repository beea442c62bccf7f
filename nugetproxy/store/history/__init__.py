"""What was asked for, by whom, how that went: bounded, and nothing that must not be lost."""
