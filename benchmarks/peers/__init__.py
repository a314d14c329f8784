"""Peers that are Python libraries, each as the short script that its user would write."""
