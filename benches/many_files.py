#!/usr/bin/env python3
"""Measures what very many files cost: memory at first sight, after a restart and at rest, and CPU at rest.

    python3 benches/many_files.py target/release/logagent [--files 20000] [--processes one|each] [--idle 20] [--dir DIR]

Makes that many files of five lines of loguru's, in sixteen directories, written by one process or each by another; runs the
agent on the embedded store until all lines are stored, stops it, starts it again, and leaves it idle. Needs nothing but
Python. Resident memory is what /proc says, in MiB.
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

LINES = 5


def line(number, file, pid, at):
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1e6):06}+00:00"
    message = f"step {number} of file {file}: fetched a page and parsed it"
    elapsed = 1.0 + number * 0.001
    record = {
        "elapsed": {"repr": f"0:00:0{elapsed:.6f}", "seconds": elapsed}, "exception": None,
        "extra": {"seq": file * LINES + number, "user": f"u{file % 97}"},
        "file": {"name": "job.py", "path": f"/srv/jobs/{file}/job.py"}, "function": "work",
        "level": {"icon": "i", "name": "INFO", "no": 20}, "line": 10 + number, "message": message, "module": "job",
        "name": "__main__", "process": {"id": pid, "name": "MainProcess"},
        "thread": {"id": 1403, "name": "MainThread"}, "time": {"repr": stamp, "timestamp": at},
    }
    return json.dumps({"text": f"{stamp} | INFO | {message}\n", "record": record}) + "\n"


def make(root, files, each):
    began = time.time() - 86400
    for file in range(files):
        folder = f"{root}/d{file % 16:02}"
        os.makedirs(folder, exist_ok=True)
        # No living process has such a number.
        pid, at = (5_000_000 + file, began + file * 0.003) if each else (5_000_000, began)
        with open(f"{folder}/job-{file:06}.jsonl", "w") as out:
            for number in range(LINES):
                out.write(line(number, file, pid, at + number * 0.001))


class Agent:
    def __init__(self, binary, folder):
        self.status_file = f"{folder}/data/status.json"
        self.process = subprocess.Popen([binary, "run", "--config", f"{folder}/config.toml"], stderr=subprocess.DEVNULL)

    def status(self):
        try:
            with open(self.status_file) as file:
                status = json.load(file)
            return status if status.get("pid") == self.process.pid else {}
        except (OSError, ValueError):
            return {}

    def memory(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            rows = dict(row.split(":", 1) for row in file)
        return {name: int(rows[name].split()[0]) / 1024 for name in ("VmHWM", "VmRSS", "RssAnon")}

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def until(self, what, done, limit=900):
        began = time.time()
        while not done(self.status()):
            if self.process.poll() is not None:
                sys.exit(f"the agent ended while {what}")
            if time.time() - began > limit:
                sys.exit(f"not done after {limit} s: {what}")
            time.sleep(0.1)
        return time.time() - began

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait() != 0:
            sys.exit("the agent failed at its end")


def say(name, agent, more):
    m = agent.memory()
    print(f"{name:12} at most {m['VmHWM']:5.1f} MiB, now {m['VmRSS']:5.1f} (anonymous {m['RssAnon']:4.1f})   {more}")


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("binary")
    args.add_argument("--files", type=int, default=20_000)
    args.add_argument("--processes", choices=("one", "each"), default="each")
    args.add_argument("--idle", type=float, default=20, help="seconds at rest that are measured")
    args.add_argument("--dir", help="where to work, default: a temporary directory")
    o = args.parse_args()
    folder = tempfile.mkdtemp(dir=o.dir)
    try:
        make(f"{folder}/logs", o.files, o.processes == "each")
        with open(f"{folder}/config.toml", "w") as out:
            out.write(f'data_dir = "{folder}/data"\n[files]\ninclude = ["{folder}/logs/*/*.jsonl"]\n[socket]\npath = "off"\n')
        agent = Agent(o.binary, folder)
        want = o.files * LINES
        took = agent.until("shipping", lambda s: s.get("records", {}).get("stored", 0) >= want)
        say("first sight", agent, f"{want:,} lines of {o.files:,} files, processes: {o.processes}, {took:.1f} s")
        agent.stop()
        agent = Agent(o.binary, folder)
        took = agent.until("starting again", lambda s: s.get("sources_total", 0) >= o.files)
        # What the start needs is over, and what it needed is given back.
        time.sleep(8)
        say("restart", agent, f"{took:.1f} s until all are known")
        before, began = agent.cpu(), time.time()
        time.sleep(o.idle)
        share = 100 * (agent.cpu() - before) / (time.time() - began)
        descriptors = len(os.listdir(f"/proc/{agent.process.pid}/fd"))
        say("idle", agent, f"{share:.2f} % of a core over {o.idle:g} s, {descriptors} descriptors")
        agent.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
