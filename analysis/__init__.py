"""Read runs from MLflow and put them side by side; nothing here trains."""
