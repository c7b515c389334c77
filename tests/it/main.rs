//! One integration binary. Each module tests one promise of the program, through its public surface.

mod cli;
mod config;
mod harness;
mod socket;
mod store_contract;
mod tidy;
