"""The terminal program: a menu, commands and printed lines.  The library imports nothing of it."""
