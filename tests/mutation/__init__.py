"""Do the tests bite? One small change at a time is made to the package, and a test must fail.

``python -m tests.mutation`` does that. The whole package takes more than an hour, so ``.ci/run``
tries a sample of the modules that have changed since ``figures.txt`` was written.
"""
