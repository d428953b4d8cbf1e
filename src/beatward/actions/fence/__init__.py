"""Drivers that make sure of a node's end: power cut, and the cut confirmed."""
