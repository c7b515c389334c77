#!/usr/bin/env python3
"""structlog into the directory that is followed: its JSON lines are understood as they are. Needs: pip install structlog

An `event` that is none of the known words (run_start, run_end, learning, fix, relation) is the message. For those words
give the text as `message=`.
"""

import os
import sys

import structlog

os.makedirs("logs", exist_ok=True)
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.CallsiteParameterAdder(
            [
                structlog.processors.CallsiteParameter.LINENO,
                structlog.processors.CallsiteParameter.PATHNAME,
                structlog.processors.CallsiteParameter.PROCESS,
            ]
        ),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ],
    logger_factory=structlog.WriteLoggerFactory(file=open("logs/structlog_json.jsonl", "a", buffering=1)),
)
log = structlog.get_logger()


def deliver(parcel):
    raise ConnectionError(f"no courier for parcel {parcel}")


def main():
    log.info("run_start", message="delivery started", metadata={"env": "dev"})
    structlog.contextvars.bind_contextvars(tags=["delivery"])
    log.info("parcel packed", parcel=7)
    try:
        deliver(7)
    except ConnectionError:
        log.exception("parcel not delivered", parcel=7)
    log.info("learning", message="couriers do not come on Sundays", confidence=0.8, function_name="deliver")
    log.info("result", response={"packed": 1, "delivered": 0})
    log.info("run_end", message="delivery done", status="success")


main()
sys.exit(0)
