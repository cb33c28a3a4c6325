"""The server: similar items and search by photo from one checked bundle at a time."""
