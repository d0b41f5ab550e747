"""greenchat: a clustered chat server that a small team can run, read and trust.

This package imports nothing: it is loaded before ``python -m greenchat.server`` monkey-patches.
"""

__version__ = "0.1.0"
