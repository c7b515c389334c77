//! One integration binary. Each module tests one promise of the program, through its public surface.

mod agent;
mod arango_delivery;
mod arango_live;
mod arango_schema;
mod cases_files;
mod cli;
mod config;
mod demo;
mod harness;
mod mcp;
mod metrics;
mod monitor;
mod query_cli;
mod query_more;
mod recorder;
mod sample;
mod search_contract;
mod socket;
mod sqlite_crash;
mod standin;
mod state;
mod store_contract;
mod systemd;
mod tidy;
mod upkeep;
