"""Runs, learnings, responses, fixes and calls of services in one file to copy beside your scripts. Needs nothing but loguru.

    from loguru import logger
    from logagent_run import learn, log_to, response, run

    log_to("logs")
    with run("nightly_import", metadata={"env": "dev", "version": "1.4"}):
        logger.info("42 rows read")
        learn("rows without a user come from the old API", confidence=0.9)
        response({"rows": 42})

All of it is plain logging: loguru writes a local file, the agent beside the script ships it. Nothing here talks to a
server, waits for one, or fails because there is none. Only `ask` and `until` start the program `logagent`, to read.
"""

import functools
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from contextvars import ContextVar
from datetime import datetime, timezone
from pathlib import Path

from loguru import logger

__all__ = [
    "ask",
    "fix",
    "learn",
    "log_api_error",
    "log_api_request",
    "log_api_response",
    "log_safe_results",
    "log_to",
    "relation",
    "response",
    "run",
    "short",
    "until",
]

_current = ContextVar("logagent_run", default=None)


def _script():
    return Path(sys.argv[0] or "python").stem


def log_to(directory="logs", level="DEBUG", name=None, **options):
    """Adds the file that the agent follows: DIRECTORY/NAME.jsonl. The name is the script's unless given.

    It rotates at 10 MB and keeps five old files, compressed; the agent follows it through both. `options` are those of
    `logger.add`. Processes that log at the same time each need a name of their own, or one logger with enqueue=True.
    """
    options = {"rotation": "10 MB", "retention": 5, "compression": "gz", **options}
    return logger.add(Path(directory) / f"{name or _script()}.jsonl", serialize=True, level=level, **options)


class run:
    """A run: `with run("name") as r:`, `async with run("name"):`, or `@run("name")` above a function, async or not.

    All that is logged inside, in this thread and in tasks begun here, carries its `execution_id`. Leaving it normally is
    success. An exception is failure; it is logged with its traceback and goes on. A run within a run names its parent.
    """

    def __init__(self, script_name=None, metadata=None, execution_id=None, tags=()):
        self.script_name = script_name or _script()
        self.metadata = dict(metadata or {})
        self.execution_id = execution_id
        self.tags = list(tags)

    def __enter__(self, depth=1):
        if self.execution_id is None:
            stamp = datetime.now(timezone.utc).strftime("%Y%m%d_%H%M%S")
            self.execution_id = f"{self.script_name}_{stamp}_{uuid.uuid4().hex[:8]}"
        context = {"execution_id": self.execution_id, "script_name": self.script_name}
        if self.tags:
            context["tags"] = self.tags
        start = {"event": "run_start", "metadata": self.metadata}
        if _current.get():
            start["parent_execution_id"] = _current.get()
        self._token = _current.set(self.execution_id)
        self._context = logger.contextualize(**context)
        self._context.__enter__()
        logger.opt(depth=depth).bind(**start).info("{} started", self.script_name)
        return self

    def __exit__(self, kind, error, trace, depth=1):
        # sys.exit() and sys.exit(0) are how scripts end well.
        failed = kind is not None and not (kind is SystemExit and error.code in (None, 0))
        try:
            end = logger.opt(depth=depth, exception=(kind, error, trace) if failed else None)
            if failed:
                text = f"{kind.__name__}: {error}" if str(error) else kind.__name__
                end.bind(event="run_end", status="failed", error=text).error("{} failed", self.script_name)
            else:
                end.bind(event="run_end", status="success").success("{} done", self.script_name)
        finally:
            self._context.__exit__(None, None, None)
            _current.reset(self._token)
        return False

    async def __aenter__(self):
        return self.__enter__(depth=2)

    async def __aexit__(self, kind, error, trace):
        return self.__exit__(kind, error, trace, depth=2)

    def __call__(self, function):
        # Each call is a run of its own.
        def fresh():
            return run(self.script_name, self.metadata, None, self.tags)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def wrapped(*args, **kwargs):
                async with fresh():
                    return await function(*args, **kwargs)

        else:

            @functools.wraps(function)
            def wrapped(*args, **kwargs):
                with fresh():
                    return function(*args, **kwargs)

        return wrapped


def learn(text, function_name=None, context=None, confidence=0.8):
    """Records what was learnt. The function is the caller's unless named."""
    bound = {
        "event": "learning",
        "function_name": function_name or sys._getframe(1).f_code.co_name,
        "context": dict(context or {}),
        "confidence": float(confidence),
    }
    logger.opt(depth=1).bind(**bound).info("{}", text)


def response(value, text="response"):
    """Records the script's structured result: anything that JSON can hold. `logagent response SCRIPT` gives it back."""
    logger.opt(depth=1).bind(response=value).info("{}", text)


def fix(text, fixes=None, rationale=None):
    """Records that an error was fixed, and how.

    `fixes` is the key of an event, a fingerprint, an execution id (its last error), an exception's type or a text (the
    newest error that matches). Without it the newest open error of the same script is meant.
    """
    bound = {"event": "fix", "fixes": fixes, "rationale": rationale}
    logger.opt(depth=1).bind(**{k: v for k, v in bound.items() if v is not None}).info("{}", text)


def relation(from_key, to_key, type="CAUSED_BY", confidence=0.9, text="related"):
    """Records an edge between two events, by their keys."""
    bound = {"event": "relation", "from_key": from_key, "to_key": to_key, "type": type, "confidence": float(confidence)}
    logger.opt(depth=1).bind(**bound).info("{}", text)


_IMAGE = re.compile(r"^data:image/[a-zA-Z+.-]+;base64,")


def short(value, text=100, items=10):
    """A copy that is fit to be logged: texts over 100 characters lose their middle (of an image in base64 only the data
    is cut), a list of more than ten elements becomes a text that says how many of what, objects are gone through."""
    if isinstance(value, str):
        image = _IMAGE.match(value)
        header, data = (image.group(), value[image.end() :]) if image else ("", value)
        if len(data) <= text:
            return value
        half = max(text // 2, 1) if text > 0 else 0
        return header + data[:half] + "..." + (data[-half:] if half else "")
    if isinstance(value, list):
        if len(value) > items:
            return f"[<{len(value)} {type(value[0]).__name__} elements>]"
        return [short(v, text, items) if isinstance(v, dict) else v for v in value]
    if isinstance(value, dict):
        return {k: short(v, text, items) for k, v in value.items()}
    return value


def log_safe_results(results, text=100, items=10):
    """`short` of each of a list of objects. Anything else is a TypeError that says what it was."""
    if not isinstance(results, list):
        raise TypeError(f"expected a list of dicts, got {type(results).__name__}")
    for i, one in enumerate(results):
        if not isinstance(one, dict):
            raise TypeError(f"expected a list of dicts, got {type(one).__name__} at index {i}")
    return [short(one, text, items) for one in results]


def log_api_request(service, data, truncate=True):
    """Records at DEBUG what is sent to a service."""
    logger.opt(depth=1).bind(service_name=service, request=short(data) if truncate else data).debug("{} request", service)


def log_api_response(service, data, truncate=True):
    """Records at DEBUG what a service answered."""
    bound = {"service_name": service, "response_data": short(data) if truncate else data}
    logger.opt(depth=1).bind(**bound).debug("{} response", service)


def log_api_error(service, error, request=None):
    """Records at ERROR that a service failed, with the exception where it is one, and what was asked of it."""
    bound = {"service_name": service} if request is None else {"service_name": service, "request": short(request)}
    trace = error if isinstance(error, BaseException) else None
    logger.opt(depth=1, exception=trace).bind(**bound).error("{} failed: {}", service, error)


def _program():
    return os.environ.get("LOGAGENT", "logagent")


def ask(*args, timeout=15):
    """What `logagent ARGS -o json` answers, or None where it cannot: no program, no store. A script never fails by it.

    `$LOGAGENT` names the program where it is not in the path.
    """
    command = [_program(), *map(str, args), "-o", "json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        return json.loads(done.stdout) if done.returncode in (0, 1) else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def until(found, *args, timeout=15):
    """Asks again until `found(answer)` is true: what was just logged needs a moment to be stored. None in the end."""
    deadline = time.monotonic() + (timeout if shutil.which(_program()) else 0)
    while True:
        answer = ask(*args)
        if answer is not None and found(answer):
            return answer
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.1)
