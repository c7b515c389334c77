#!/usr/bin/env python3
"""Python's own `logging`, without any library: a formatter that writes flat JSON into the directory that is followed.

The names need no translation: the agent knows levelname, funcName, pathname, lineno, process, thread, exc_info and
their kin. What is passed as `extra=` is kept, and means the same as a bound value of loguru.
"""

import json
import logging
import logging.handlers
import os
from datetime import datetime, timezone

# What every LogRecord has; the rest came with extra=.
STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    def format(self, record):
        line = {
            "timestamp": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
            "funcName": record.funcName,
            "pathname": record.pathname,
            "lineno": record.lineno,
            "module": record.module,
            "process": record.process,
            "thread": record.thread,
            "threadName": record.threadName,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        line.update({k: v for k, v in vars(record).items() if k not in STANDARD})
        return json.dumps(line, default=str, ensure_ascii=False)


os.makedirs("logs", exist_ok=True)
handler = logging.handlers.RotatingFileHandler("logs/standard_logging.jsonl", maxBytes=10_000_000, backupCount=5)
handler.setFormatter(JsonFormatter())
logging.basicConfig(level=logging.DEBUG, handlers=[handler])
log = logging.getLogger("billing.invoices")

log.info("started", extra={"event": "run_start", "metadata": {"env": "dev", "version": "2.0"}})
log.debug("invoice %d written", 17, extra={"invoice": 17, "tags": ["billing"]})
try:
    {"net": 100}["vat"]
except KeyError as e:
    log.exception("invoice %d has no VAT", 18)
    learning = {"event": "learning", "function_name": "vat", "confidence": 0.9, "context": {"invoice": 18}}
    log.info("invoices from abroad have no VAT", extra=learning)
    log.info("result", extra={"response": {"written": 1, "failed": 1}})
    log.error("stopped", extra={"event": "run_end", "status": "failed", "error": repr(e)})
