"""HTTP/1.1 for web clients: connections, the table of routes, and the answers that are the same everywhere.

The room speaks through h11, which knows no sockets, and reads and writes a socket that ``server`` hands it.
"""
