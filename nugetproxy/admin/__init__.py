"""What an operator may see and do, without a word of HTTP."""
