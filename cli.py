# The command from a checkout: python cli.py extract ...
from scatcache.commands import main

if __name__ == "__main__":
    raise SystemExit(main())
