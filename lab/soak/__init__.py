"""The soak test: break a cluster at random under load, then judge what the devices wrote down."""
