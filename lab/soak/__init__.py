"""The soak test: break a cluster at random under load, then judge the notes of the devices."""
