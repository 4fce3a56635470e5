"""What single papers add to the step: auxiliary losses, credit of spans, hindsight, influence.

The learner of the folder above reads without them.
"""
