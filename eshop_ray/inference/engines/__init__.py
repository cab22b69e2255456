"""The engines: vLLM, the Ray Serve deployment, the oracle and a simulated one."""
