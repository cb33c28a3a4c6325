"""What a run came to: one word for the branches, the reasons for people, one notification."""
