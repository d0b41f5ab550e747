"""The algorithm of the cluster: numbered frames between the nodes, their directory, and their failures."""
