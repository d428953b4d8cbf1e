"""Drivers that tell somebody: they change nothing about the node, so nothing withdraws them."""
