"""The terminal program: menu, commands, and the lines it prints.  The library imports nothing of it."""
