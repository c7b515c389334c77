//! Which execution a record belongs to, and what becomes known of executions.
//!
//! # Constraints
//!
//! A script says nothing, or little, about its runs; loguru's records carry `time` and `elapsed`, whose difference is
//! the start of the process to the microsecond. So a *process* (host, pid, start) is known for every loguru record, and
//! for flat records that name a pid. Every process has one *derived* run that needs no line of code; scripts may
//! *declare* runs (`run_start`, `run_end`) or just bind an `execution_id`, which makes a run too (*bound*).
//!
//! # Which run a record belongs to
//!
//! 1. a bound `execution_id` wins;
//! 2. else the declared run of its process that was open at the record's time: of several the one of the same thread,
//!    else the newest;
//! 3. else the declared run that had ended last in that process (records after `run_end` belong to the run);
//! 4. else the derived run of the process: `{script}_{start, YYYYMMDD_HHMMSS UTC}_{8 hex}`;
//! 5. else, where no process is known, `unknown`.
//!
//! The first `run_start` without an id declares the derived run itself; a later one names a run of its own start.
//!
//! # How runs end
//!
//! `run_end` ends a run. A process of this host that is gone ends its runs: `failed` if the last record was an error
//! with an exception, else `crashed` if the run was declared, else `ended`; at the last record's time. A process is
//! only believed gone once everything it wrote has been read. Runs of other hosts, runs without a process, and those of
//! processes that nobody here can see, are `lost` after a time without records. An end that was concluded falls when
//! the run is heard of again, and is concluded anew.
//!
//! # Bounds
//!
//! A process keeps at most [`BOUND_RUNS`] bound runs open (an id per request is a run per request); beyond that one
//! that was quiet is concluded. With declared ones it is remembered with at most [`RUNS`]: those that ended first make room,
//! then those that were quiet longest, which are concluded. At most [`PROCESSES`] processes are remembered; the longest quiet are
//! forgotten, some at a time. A forgotten run is only reported again, which the stores merge.
//!
//! The tracker is pure: `now` and what is alive come from outside. [`liveness`] looks at the machine.

mod glances;
pub mod liveness;
mod process;
mod run;
mod tracker;

pub use process::{BOUND_RUNS, Liveness, ProcessId, RUNS};
pub use tracker::{PROCESSES, Resolved, Tracker};

#[cfg(test)]
mod tests;
