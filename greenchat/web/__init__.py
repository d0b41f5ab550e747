"""Files for browsers; no code."""
