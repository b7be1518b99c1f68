"""Plain serial protocols whose every detail is data in a profile: framing, question, checksum, layout."""
