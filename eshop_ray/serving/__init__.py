"""The merged model as an OpenAI-compatible endpoint."""
