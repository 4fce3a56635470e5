"""What the checks share: hand-made episodes, a small policy, tables of numbers."""
