#!/usr/bin/env python3
"""One run, many threads. Needs nothing but loguru.

A thread that names no run belongs to the open run of its process. Two runs at a time in two threads are told apart by
their thread, too: see the second half.
"""

from concurrent.futures import ThreadPoolExecutor

from loguru import logger

logger.remove()
logger.add("logs/threads.jsonl", serialize=True, rotation="10 MB", retention=5, compression="gz", enqueue=True)


def resize(n):
    if n % 10 == 3:
        try:
            raise ValueError(f"picture {n} is broken")
        except ValueError:
            logger.bind(picture=n).exception("picture {} is left out", n)
            return 0
    logger.bind(picture=n).debug("picture {} resized", n)
    return 1


def convert(name):
    # A run within this thread: nothing but its beginning and its end say so.
    with logger.contextualize(execution_id=f"threads_convert_{name}"):
        logger.bind(event="run_start", metadata={"name": name}).info("converting {}", name)
        logger.info("{} converted", name)
        logger.bind(event="run_end", status="success").success("{} done", name)


logger.bind(event="run_start", script_name="resize_pictures", metadata={"workers": 4}).info("started")
with ThreadPoolExecutor(4) as pool:
    done = sum(pool.map(resize, range(40)))
logger.bind(response={"resized": done}).info("result")
logger.bind(event="run_end", status="success").success("{} pictures resized", done)

with ThreadPoolExecutor(2) as pool:
    list(pool.map(convert, ["a", "b"]))
logger.complete()
