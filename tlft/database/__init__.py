"""MLflow's own SQLite database, read as it lies there: MLflow is not imported, which takes longer than the answer."""
