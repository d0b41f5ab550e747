"""The bus of a server that is alone, and its counters."""
