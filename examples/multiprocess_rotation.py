#!/usr/bin/env python3
"""Several processes, and files that rotate and are compressed while they are written. Needs nothing but loguru.

The right way is a file for each process: nothing is shared, so nothing can be overwritten. Where all have to write into
one file, one logger with `enqueue=True` is handed to the children: then a single thread of the parent writes and
rotates. Several processes that each open and rotate the *same* file overwrite one another; no agent can bring that back.
"""

import multiprocessing
import os
import sys

from loguru import logger

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
# Small, so that there is something to see; 10 MB is a good size in life.
ROTATION = "200 KB"
METADATA = {"rows": ROWS}


def own_file(number):
    logger.remove()
    # "spawn" and "fork" both end up here: the file's name is the process's own.
    logger.add(
        f"logs/own_file_{number}_{os.getpid()}.jsonl", serialize=True, rotation=ROTATION, compression="gz", retention=50
    )
    log = logger.bind(script_name="own_file")
    log.bind(event="run_start", metadata=METADATA).info("worker {} started", number)
    for row in range(ROWS):
        log.bind(worker=number, row=row).debug("row {} of worker {}", row, number)
    log.bind(event="run_end", status="success").success("worker {} done", number)


def shared_file(log, number):
    log = log.bind(execution_id=f"shared_file_{os.getppid()}_{number}", script_name="shared_file")
    log.bind(event="run_start", metadata=METADATA).info("worker {} started", number)
    for row in range(ROWS):
        log.bind(worker=number, row=row).debug("row {} of worker {}", row, number)
    log.bind(event="run_end", status="success").success("worker {} done", number)
    log.complete()


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=own_file, args=(n,)) for n in range(3)]

    logger.remove()
    logger.add(
        "logs/shared_file.jsonl",
        serialize=True,
        rotation=ROTATION,
        compression="gz",
        retention=50,
        enqueue=True,
        context="spawn",
    )
    workers += [context.Process(target=shared_file, args=(logger, n)) for n in range(3)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    logger.complete()
    sys.exit(any(w.exitcode for w in workers))
