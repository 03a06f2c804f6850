"""`python -m service`: see `service.commands`."""

import os
import signal
import sys

if __name__ == "__main__":
    # What is closed would be the next file that is opened, and be written to.
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(opened)
    # Until the supervisor listens to it, a reload is nothing to do: what is started reads the newest file.
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Until then Ctrl-C ends the process at once, without a traceback of what it imported.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))

    from service.commands import main

    sys.exit(main())
