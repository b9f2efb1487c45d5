"""The deployment's records in SQLite or PostgreSQL: predictions, labels, reviews, monitoring results and promotions."""
