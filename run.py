"""Run one experiment, or a sweep of them: `python run.py --help` tells the groups and keys."""

from tlft.run import main  # where @hydra.main is; the completion of fish looks for that word in this file

if __name__ == "__main__":
    main()
