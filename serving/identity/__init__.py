"""Who is asking: tokens, sessions, and what a trusted proxy says."""
