"""`python -m reinduce` is `reinduce`."""

import sys

from reinduce.cli import main

sys.exit(main())
