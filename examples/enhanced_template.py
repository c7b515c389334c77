#!/usr/bin/env python3
"""A template for scripts: it only writes local logs, and asks for its history through the command line.

    python enhanced_template.py [working|debug|stress]

working (default)  processes data as a run, saves the result, looks at its own errors and at its history
debug              looks across all runs: recurring learnings, functions with most errors
stress             10,000 records in a row, 10 workers at a time, and a count of what was stored

Ends with 0 on success, else with 1. Without an agent, or without the program `logagent`, it works all the same and
says what it could not ask. Copy `logagent_run.py` beside it.
"""

import asyncio
import json
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

from logagent_run import ask, learn, log_to, response, run, until
from loguru import logger

NAME = "enhanced_template_demo"

# --- handlers: people read the terminal, the agent follows the file --------------------------------------------------
logger.remove()
logger.add(
    sys.stderr,
    level="INFO",
    format="<green>{time:YYYY-MM-DD HH:mm:ss}</green> | <level>{level: <8}</level> | "
    "<cyan>{name}</cyan>:<cyan>{function}</cyan>:<cyan>{line}</cyan> - <level>{message}</level>",
)
log_to("logs", level="DEBUG", enqueue=True)

# --- an optional service: the script works without it, and says so ----------------------------------------------------
try:
    import redis

    cache = redis.Redis(decode_responses=True, socket_connect_timeout=0.5)
    cache.ping()
except Exception as e:
    cache = None
    logger.bind(degraded=True).warning("Redis is not available ({}); some features are limited", type(e).__name__)


def process_data(data, threshold=0.8):
    """Scores items; logs progress, learns from what fails, and returns counts and items."""
    logger.info("processing {} items with threshold {}", len(data), threshold)
    results = {"processed": 0, "above_threshold": 0, "errors": 0, "items": []}
    for i, item in enumerate(data):
        if i % 100 == 0:
            logger.bind(item=i, of=len(data)).debug("processing item {}/{}", i, len(data))
        try:
            score = item["value"] * item.get("weight", 1)
            passed = score > threshold
            results["above_threshold"] += passed
            if score > threshold * 1.5:
                logger.bind(score=score).info("high score: {} ({:.2f})", item.get("id"), score)
            results["items"].append({"id": item.get("id"), "score": score, "passed": passed})
            results["processed"] += 1
        except Exception as e:
            logger.bind(item=i).exception("item {} cannot be processed", i)
            results["errors"] += 1
            learn(
                f"an item fails with {type(e).__name__}: validate {', '.join(item)} first",
                context={"error_type": type(e).__name__, "item_keys": list(item)},
            )
    done = "{} processed, {} above threshold, {} errors"
    logger.success(done, results["processed"], results["above_threshold"], results["errors"])
    if results["errors"] > len(data) * 0.1:
        rate = results["errors"] / len(data)
        learn("more than a tenth of the items fail: look at the data", context={"error_rate": rate}, confidence=0.9)
    return results


def analyze_history(script, days=7):
    """How the script did in the last days: one row for each run, and totals."""
    history = ask("history", script, "--days", days, "--by", "run", "-n", 1000)
    if history is None:
        logger.warning("no history: the store cannot be asked")
        return None
    logger.bind(history=history).info("history of {} over {} days: {} rows", script, days, len(history["items"]))
    return history


def working():
    with run(NAME, metadata={"mode": "working", "version": "1.0"}) as r:
        data = [{"id": f"item_{i}", "value": i * 0.1, "weight": 1.0} for i in range(100)]
        data.append({"id": "broken", "value": None})
        results = process_data(data, threshold=5.0)

        directory = Path(tempfile.gettempdir()) / "responses"
        directory.mkdir(exist_ok=True)
        file = directory / f"results_{r.execution_id}.json"
        saved = {"execution_id": r.execution_id, "timestamp": datetime.now(timezone.utc).isoformat(), "results": results}
        file.write_text(json.dumps(saved, indent=2))
        logger.info("results saved to {}", file)
        response({k: results[k] for k in ("processed", "above_threshold", "errors")})

        # What was just logged needs a moment to be stored.
        errors = until(lambda answer: answer["items"], "search", "-e", r.execution_id, "-l", "error")
        if errors is None:
            logger.warning("the errors of this run cannot be asked for: no agent, or no store")
        else:
            logger.warning("{} errors in this run", errors["returned"])
    analyze_history(NAME)
    return True


def debug():
    logger.info("learnings that were recorded more than once")
    recurring = ask("learnings", "--min-confidence", 0.8, "--recurring", "-n", 10)
    for item in (recurring or {}).get("items", []):
        logger.info("  {}", str(item.get("learning"))[:100])

    logger.info("functions with most errors in the last day")
    functions = ask("stats", "--by", "function", "-l", "error", "-S", "24h", "-n", 5)
    for item in (functions or {}).get("items", []):
        logger.bind(function=item).warning("  {}", json.dumps(item))
    groups = ask("errors", "-S", "24h", "-n", 5)
    for item in (groups or {}).get("items", []):
        logger.warning("  {} times, {}: {}", item.get("count"), item.get("state"), str(item.get("message"))[:100])
    return None not in (recurring, functions, groups)


async def stress(records=10_000, workers=10, each=100):
    async with run("stress_test", metadata={"records": records}) as r:
        begun = time.perf_counter()
        for i in range(records):
            logger.bind(iteration=i, batch=i // 100).debug("stress record {}", i)
            if i % 1000 == 0:
                logger.info("progress: {}/{}", i, records)
        seconds = time.perf_counter() - begun
        logger.success("{} records logged in {:.2f} s", records, seconds)

        async def worker(n):
            for i in range(each):
                logger.bind(worker=n).info("worker {} record {}", n, i)
                await asyncio.sleep(0.01)

        await asyncio.gather(*(worker(n) for n in range(workers)))
        logger.complete()

    # run_start, run_end, the progress lines and the one with the time.
    written = records + (records + 999) // 1000 + workers * each + 3
    count = "select count(*) n from log_events where execution_id = :e"
    stored = until(
        lambda answer: answer["items"][0]["n"] >= written, "query", count, "--bind", f"e={r.execution_id}", timeout=60
    )
    if stored is None:
        logger.error("not all of {} records were found in the store within a minute", written)
        return False
    logger.success("{} records written, {} stored", written, stored["items"][0]["n"])
    batches = ask("stats", "--by", "level,extra_data.batch", "-e", r.execution_id, "-n", 1000)
    logger.info("{} groups by level and batch", len(batches["items"]) if batches else "no")
    return stored["items"][0]["n"] == written


def main(mode):
    modes = {"working": working, "debug": debug, "stress": lambda: asyncio.run(stress())}
    if mode not in modes:
        logger.error("unknown mode {}; the modes are {}", mode, ", ".join(modes))
        return False
    logger.info("running in {} mode", mode)
    return modes[mode]()


if __name__ == "__main__":
    succeeded = main(sys.argv[1] if len(sys.argv) > 1 else "working")
    logger.complete()
    sys.exit(0 if succeeded else 1)
