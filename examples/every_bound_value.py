#!/usr/bin/env python3
"""Every bound value that has a meaning, each once, with nothing but loguru.

All of them are optional. A script without any is recognised by its process all the same.
Run it in a directory where `logagent run` runs: python every_bound_value.py
"""

import json
import os
import subprocess
import time

from loguru import logger

logger.add("logs/every_bound_value.jsonl", serialize=True, rotation="10 MB", retention=5, compression="gz")

# --- identity: on all records of this script -------------------------------------------------------------------
# execution_id  groups records to a run; without it the run of this process, else one derived from its start
# script_name   without it the stem of the log file
# tags          to filter by: logagent search --tag nightly
# host          wins over the machine's name, for records that come from elsewhere
EXECUTION = f"every_bound_value_{time.strftime('%Y%m%d_%H%M%S', time.gmtime())}_{os.urandom(4).hex()}"
log = logger.bind(execution_id=EXECUTION, script_name="every_bound_value", tags=["nightly", "example"])


def load(row):
    return {"ada": 1}[row["user"]]


# --- a run: its beginning, with anything one wants to compare later (logagent history --by metadata.version) ------
log.bind(event="run_start", metadata={"env": "dev", "version": "1.4"}).info("started")

# --- anything else that is bound is kept as extra_data: logagent search extra_data.user=ada -----------------------
log.bind(user="ada", rows=42).info("rows read")

# --- what is worth storing: only matters with [ship] keep = "marked", or to keep one record out ------------------
log.bind(db_store=True).debug("a detail that is stored whatever [ship] says")
log.bind(db_store=False).debug("a detail that stays in the file")

# --- an error: the traceback, the chain of causes and a fingerprint come from the exception -----------------------
try:
    load({"user": "bob"})
except KeyError:
    log.exception("a row has no user")

# --- a fix: closes the newest matching error ---------------------------------------------------------------------
# fixes      a key, a fingerprint, an execution id, an exception type or a text; without it the newest open error
# rationale  why that helps
log.bind(event="fix", fixes="KeyError", rationale="guests have no account").info("guests get a default account")

# --- a learning: logagent learnings --------------------------------------------------------------------------------
log.bind(event="learning", function_name="load", context={"rows": 42}, confidence=0.9).info("guests have no account")
# The older form of the same.
log.bind(log_category="AGENT_LEARNING", confidence=0.6).info("guests come from the old API")

# --- the script's structured result: logagent response every_bound_value -----------------------------------------
log.bind(response={"rows": 42, "guests": 1}).info("result")
# The older form of the same.
log.bind(log_category="SCRIPT_FINAL_RESPONSE", payload={"rows": 42, "guests": 1}).info("result again")

# --- a vector of your own, stored as given ------------------------------------------------------------------------
log.bind(embeddings=[0.1, 0.2, 0.7]).info("a text with its embedding")

# --- a run within the run ------------------------------------------------------------------------------------------
inner = logger.bind(execution_id=f"{EXECUTION}_sub", script_name="every_bound_value_sub")
inner.bind(event="run_start", parent_execution_id=EXECUTION).info("a part started")
inner.bind(event="run_end", status="failed", error="the part had nothing to do").error("a part failed")


# --- an edge between two events, by their keys: ask for the keys, as the agent gives them ---------------------------
def key_of(text):
    """The key of the newest event of this run with this text; None where no agent stores it within ten seconds."""
    question = [os.environ.get("LOGAGENT", "logagent"), "search", text, "-e", EXECUTION, "-n", "1", "-o", "json"]
    for _ in range(100):
        try:
            found = subprocess.run(question, capture_output=True, text=True)
        except OSError:
            return None
        if found.returncode == 0:
            return json.loads(found.stdout)["items"][0]["_key"]
        time.sleep(0.1)
    return None


cause, effect = key_of("rows read"), key_of("row has no user")
if cause and effect:
    edge = {"event": "relation", "from_key": effect, "to_key": cause, "type": "CAUSED_BY", "confidence": 0.75}
    log.bind(**edge).info("the row was read without its user")

# --- the end of the run: status "success" or "failed", with error="…" ------------------------------------------------
log.bind(event="run_end", status="success").success("done")
