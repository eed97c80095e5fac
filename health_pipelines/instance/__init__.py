"""What makes a Dagster instance: where its events are stored and how its runs are launched."""
