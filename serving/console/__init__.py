"""The pages for the engineer on call: what is live and why, and how to change it."""
