"""Batches of requests: OpenAI's files and batches, answered beside the endpoint by the dispatch of bulk inference."""
