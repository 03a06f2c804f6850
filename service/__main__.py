"""`python -m service`: see `service.commands`."""

import signal
import sys

if __name__ == "__main__":
    # Until the supervisor listens to it, Ctrl-C ends the process as it is, without a traceback of what it imported.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    from service.commands import main

    sys.exit(main())
