"""The ports of the cluster over Redis: transport, registry, counters, and the cache of friends."""
