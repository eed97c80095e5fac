"""The whole system at work while processes of it are killed at random moments, then held against the truth.

`python -m health_pipelines_tests.crash`, or `make crash-test`; docs/crash-test.md says what it does.
"""
