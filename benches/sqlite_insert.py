#!/usr/bin/env python3
"""The ruler for the embedded store: executemany into a plain table with a text primary key, four indexes and FTS5.

sqlite_insert.py DOCS.jsonl        documents as logagent stores them, one a line

Rows are made before the clock starts. Two ways: one transaction in SQLite's default mode, and write-ahead logging with
a transaction every 2000 rows, which is what an agent that answers for what it stored has to do.
"""
import json
import os
import sqlite3
import sys
import time

BATCH = 2000


def rows(path):
    out = []
    with open(path, encoding="utf-8") as f:
        for line in f:
            d = json.loads(line)
            out.append((d["_key"], d["timestamp"], d["level"], d["execution_id"], d["script_name"], d["message"],
                        line.rstrip("\n")))
    return out


def run(name, data, wal):
    for suffix in ("", "-wal", "-shm", "-journal"):
        if os.path.exists("ruler.db" + suffix):
            os.unlink("ruler.db" + suffix)
    db = sqlite3.connect("ruler.db", isolation_level=None)
    if wal:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
    db.executescript("""
        CREATE TABLE e (_key TEXT PRIMARY KEY, timestamp TEXT, level TEXT, execution_id TEXT, script_name TEXT,
                        message TEXT, doc TEXT);
        CREATE INDEX e1 ON e (execution_id, timestamp);
        CREATE INDEX e2 ON e (level, timestamp);
        CREATE INDEX e3 ON e (script_name, timestamp);
        CREATE INDEX e4 ON e (timestamp);
        CREATE VIRTUAL TABLE f USING fts5(message);
    """)
    step = BATCH if wal else len(data)
    cpu, wall = time.process_time(), time.perf_counter()
    for i in range(0, len(data), step):
        part = data[i:i + step]
        db.execute("BEGIN")
        db.executemany("INSERT OR IGNORE INTO e VALUES (?,?,?,?,?,?,?)", part)
        db.executemany("INSERT INTO f (rowid, message) VALUES (?, ?)",
                       [(i + k + 1, r[5]) for k, r in enumerate(part)])
        db.execute("COMMIT")
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    db.close()
    n = len(data)
    print(f"python {n / cpu:8.0f} events/s of CPU  {n / wall:8.0f} events/s by the clock  "
          f"{os.path.getsize('ruler.db') / n:5.0f} B/event  {name} (SQLite {sqlite3.sqlite_version})")


if __name__ == "__main__":
    data = rows(sys.argv[1])
    run("one transaction", data, False)
    run("WAL, 2000 a transaction", data, True)
