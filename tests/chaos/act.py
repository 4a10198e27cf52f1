"""`python -m tests.chaos.act MODULE PLOT FOLDER`: acts one plot; a module of its own, so that `stage` exists once."""

from tests.chaos.stage import main

if __name__ == "__main__":
    main()
