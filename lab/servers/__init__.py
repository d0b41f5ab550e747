"""Private servers on loopback, each with a folder and a free port of its own.

They run in the foreground, as children that end with their parent.
"""
