"""Proofs of identity, and the limits that stop guessing and flooding."""
