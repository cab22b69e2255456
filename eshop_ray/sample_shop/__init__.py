"""A shop that is made up: products, reviews, queries and questions with gold answers, in public formats."""
