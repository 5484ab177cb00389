"""Looking inside trained methods: measures and pictures that need a model, and train nothing.

Not in wsis.methods, whose sources decide a run's numbers; nor in wsis.evaluation, which knows no models.
"""
