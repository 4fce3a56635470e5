"""`python -m agentrl.cli` is `agentrl`."""

import sys

from agentrl.cli.command import main

sys.exit(main())
