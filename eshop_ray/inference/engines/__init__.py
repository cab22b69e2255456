"""The engines: vLLM, the Ray Serve deployment, conventional models, the oracle and a simulated one."""
