"""Do the tests bite?  One small change at a time is made to the core, and a test must fail.

``python -m tests.mutation`` does that; ``docs/proof.md`` says what came of it.  It is not for every
change: it takes two hours.
"""
