"""Private servers on loopback: what the tests and the scripts start beside a greenchat server.

Each has a folder and a free port of its own, runs in the foreground, and ends with its parent.
"""
