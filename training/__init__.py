"""Features to models: labels, point-in-time sets, XGBoost, gates, the MLflow registry."""
