"""JSON Schema documents of the datasets that brainlens knows; read them with `importlib.resources`."""
