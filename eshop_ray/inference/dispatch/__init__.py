"""Prompts -> calls -> engines -> answers: batching, deduplication, dispatch and recovery."""
