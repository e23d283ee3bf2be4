"""Optimizers on the nodes of a Ray cluster: the same work as in a local process, behind another connection."""
