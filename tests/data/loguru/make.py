#!/usr/bin/env python3
"""Writes the lines beside this file with the real loguru, all its habits included. Needs only loguru."""
import os
import sys
import threading

from loguru import logger

HERE = os.path.dirname(os.path.abspath(__file__))


def fresh(name, **options):
    path = os.path.join(HERE, name)
    if os.path.exists(path):
        os.remove(path)
    logger.remove()
    logger.add(path, serialize=True, level=0, **options)


def levels():
    fresh("levels.jsonl")
    logger.trace("trace")
    logger.debug("debug")
    logger.info("info with “quotes”, \"escapes\" \\ \t and 失败")
    logger.success("done ✓")
    logger.warning("")
    logger.error("error 42")
    logger.critical("critical\nof two lines")
    logger.log(33, "a level without a name")
    logger.level("AUDIT", no=35, icon="@")
    logger.log("AUDIT", "a level with a name of its own")


def values():
    fresh("values.jsonl")
    logger.bind(execution_id="e-1", script_name="s.py", tags=["a", "b"], n=1, f=0.5, none=None, yes=True).info("bound")
    logger.bind(nan=float("nan"), inf=float("-inf"), big=2**80, small=-2**63, huge=2**64 - 1).info("numbers")
    logger.bind(tuple=(1, 2), set={1}, path=os, raw="\u2028 😀", nested={"a": [{"b": {}}]}).info("things")
    logger.bind(message="own", level=3, time="later", text="t", record={}).info("names of record fields")
    logger.bind(event="run_start", metadata={"v": "1"}).info("start")
    logger.bind(event="learning", confidence=0.9, context={"a": 1}, function_name="f").info("learnt")
    t = threading.Thread(target=lambda: logger.info("from a thread"), name="worker-1")
    t.start()
    t.join()


class JobError(Exception):
    pass


def inner(x):
    return {}[x]


def outer(x):
    try:
        inner(x)
    except KeyError as e:
        raise JobError(f"job {x} failed") from e


def exceptions(name, **options):
    fresh(name, **options)
    try:
        inner("user 7")
    except KeyError:
        logger.exception("plain {}", "one")
    try:
        outer(7)
    except JobError:
        logger.exception("a chain")
    try:
        try:
            inner("a")
        except KeyError:
            raise ValueError("many\nlines: \"of\" value")
    except ValueError:
        logger.opt(exception=True).warning("while handling, Traceback (most recent call last): in the message")
    logger.opt(exception=ValueError("never raised")).error("without traceback")
    logger.exception("nothing was raised")
    try:
        int("x")
    except ValueError:
        logger.exception("")


if __name__ == "__main__":
    levels()
    values()
    exceptions("exceptions.jsonl", backtrace=False, diagnose=False)
    exceptions("diagnosed.jsonl", backtrace=True, diagnose=True)
    logger.remove()
    sys.exit(0)
