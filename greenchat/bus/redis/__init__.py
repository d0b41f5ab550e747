"""Redis: connections, the registry of nodes and devices, and what the nodes share besides."""
