//! What every store promises to those who write to it: one suite, run on each store.
//!
//! A store joins by implementing [`Backend`] and naming itself in a `contract!` line below.

use std::collections::BTreeMap;
use std::sync::Arc;

use logagent::store::{Batch, Sink};
use serde_json::Value;

mod backends;
mod promises;

/// Everything stored: collection, key, document; without what a store keeps for itself.
pub type Snapshot = BTreeMap<&'static str, BTreeMap<String, Value>>;

/// A store under test, empty when it is made.
pub trait Backend {
    type Sink: Sink + Sync;

    fn sink(&self) -> &Self::Sink;

    fn snapshot(&self) -> Snapshot;
}

/// Writes a batch that must be taken.
pub async fn write(b: &impl Backend, batch: Batch) -> logagent::store::Report {
    b.sink().write(&Arc::new(batch)).await.expect("the batch is taken")
}

/// One document of the store.
pub fn stored(b: &impl Backend, collection: &'static str, key: &str) -> Value {
    b.snapshot()
        .get(collection)
        .and_then(|c| c.get(key))
        .unwrap_or_else(|| panic!("no {collection}/{key}"))
        .clone()
}

/// Makes a test of each promise for the backend of this name.
macro_rules! contract {
    ($backend:ident, $make:expr) => {
        mod $backend {
            contract! { @each $make;
                what_is_written_is_stored_field_by_field,
                writing_again_changes_nothing,
                concurrent_copies_of_a_batch_are_stored_once,
                a_faulty_record_is_rejected_and_does_not_hold_up_the_others,
                an_empty_batch_is_taken,
                updates_of_a_run_come_in_any_order_and_more_than_once,
                a_run_is_running_until_its_end_is_known,
                learnings_and_their_memories_are_stored_once,
                relations_become_edges_with_every_name_that_readers_look_for,
                a_fix_finds_its_error_by_key_fingerprint_execution_type_and_text,
                a_fix_without_a_target_is_for_the_newest_open_error_of_its_script,
                a_fix_resolves_the_earlier_events_of_its_error_but_no_others,
                a_fix_that_matches_nothing_is_marked_and_counted,
                a_repeated_fix_does_not_fix_another_error,
                the_schema_is_created_once_and_a_dry_run_creates_nothing,
                a_barrier_and_a_probe_answer_on_a_working_store,
            }
        }
    };
    (@each $make:expr; $($promise:ident,)*) => {
        $(#[test]
        fn $promise() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let backend = $make;
                super::promises::$promise(&backend).await;
            });
        })*
    };
}

contract!(memory, super::backends::Memory::new());
contract!(sqlite, super::backends::Sqlite::new());
