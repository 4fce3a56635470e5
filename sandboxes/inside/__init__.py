"""What runs inside a sandbox: standard library only, Python 3.8 or later.

The host sends the text of these modules (see `bootstrap`); nothing has to be installed there.
"""
