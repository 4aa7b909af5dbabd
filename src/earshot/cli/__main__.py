"""`python -m earshot.cli`."""

import sys

from earshot.cli import main

sys.exit(main())
