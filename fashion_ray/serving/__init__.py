"""A bundle outside of Ray, as MLflow serves it."""
