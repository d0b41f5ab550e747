"""The bus of a server that is alone, its counters, and its cache of friends."""
