"""MLflow's model registry: versions, the gate, promotion, and the hand-over to a running service."""
