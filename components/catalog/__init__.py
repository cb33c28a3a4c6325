"""Checks the catalog's tables and images and gives every item one label."""
