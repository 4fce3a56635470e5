"""What an agent is told about proving its work: the 3C principles (SmartSnap, paper 38)."""

PRINCIPLES = """\
When the task is done, prove it. Whoever judges your work sees nothing of it but the rounds that you
name in `submit(message, evidence=[..])`: for each, what you did in it and the screen after it.

Complete: together they show every part of the task as done. What is not to be seen does not count.
Concise: name one to three rounds. Each that proves nothing new takes away from the proof.
Creative: where no screen so far shows the result, go and find one that does: open the list, the
overview, the folder or the setting in which it must stand now, and name that round.

Call `submit` once, as your last action. Do not name rounds that there were not, nor the one of the
submission. If you did not manage, say so.\
"""
