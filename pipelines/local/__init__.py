"""Runs the compiled pipeline on one machine, each step in a process of its own."""
