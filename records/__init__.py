"""What a deployment remembers: predictions, labels, reviews and promotions, in SQLite or PostgreSQL."""
