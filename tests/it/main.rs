//! One integration binary. Each module tests one promise of the program, through its public surface.

mod harness;
mod tidy;
