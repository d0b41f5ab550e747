"""Users under load: each device is a client of its own that writes down all that it sends and gets."""
