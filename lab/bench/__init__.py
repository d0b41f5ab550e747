"""The benchmark: a server in its own process, a load beside it, and checks while it measures.

``scripts/bench`` runs it; ``docs/performance.md`` explains its figures.
"""
