"""The records that the rooms share, and the arithmetic of conversations and instants."""
