"""Stories over the whole of it: real daemon, real sensor, real HTTP."""
