//! What every store promises to those who write to it: one suite, run on each store.
//!
//! A store joins by implementing [`Backend`] and naming itself in a module below.

use std::collections::BTreeMap;
use std::sync::Arc;

use logagent::store::{Batch, Sink};
use serde_json::Value;

pub mod arango;
mod backends;
mod promises;

/// Everything stored: collection, key, document; without what a store keeps for itself.
pub type Snapshot = BTreeMap<&'static str, BTreeMap<String, Value>>;

/// A store under test, empty when it is made.
pub trait Backend {
    type Sink: Sink + Sync;

    fn sink(&self) -> &Self::Sink;

    fn snapshot(&self) -> Snapshot;

    /// What must be done before the first batch, where a store does not do it by itself.
    fn prepare(&self) -> impl Future<Output = ()> {
        async {}
    }
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

/// Hands the list of all promises to another macro; those behind the semicolon want a store without its schema.
macro_rules! promises {
    ($then:ident, $make:expr) => {
        $then! { $make;
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
            an_execution_stands_for_what_failed_and_not_for_its_end,
            a_fix_without_a_target_passes_over_ends_that_repeat_a_failure,
            a_fix_resolves_the_earlier_events_of_its_error_but_no_others,
            a_fix_that_matches_nothing_is_marked_and_counted,
            a_repeated_fix_does_not_fix_another_error,
            a_barrier_and_a_probe_answer_on_a_working_store;
            the_schema_is_created_once_and_a_dry_run_creates_nothing,
        }
    };
}

/// A test of each promise.
macro_rules! tests {
    ($make:expr; $($promise:ident),*; $($bare:ident,)*) => {
        $(#[test]
        fn $promise() {
            super::on_a_runtime(async {
                let backend = $make;
                super::Backend::prepare(&backend).await;
                super::promises::$promise(&backend).await;
            });
        })*
        $(#[test]
        fn $bare() {
            super::on_a_runtime(async {
                let backend = $make;
                super::promises::$bare(&backend).await;
            });
        })*
    };
}

/// All promises one after the other, each on a backend of its own.
macro_rules! in_turn {
    ($make:expr; $($promise:ident),*; $($bare:ident,)*) => {
        $({
            let backend = $make;
            backend.prepare().await;
            promises::$promise(&backend).await;
        })*
        $({
            let backend = $make;
            promises::$bare(&backend).await;
        })*
    };
}

fn on_a_runtime(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test);
}

mod memory {
    promises!(tests, super::backends::Memory::new());
}

mod sqlite {
    promises!(tests, super::backends::Sqlite::new());
}

mod arango_standin {
    promises!(tests, super::arango::OnStandin::new());
}

#[test]
fn every_promise_is_kept_on_a_real_arangodb_where_one_is_named() {
    let Some(server) = crate::arango_live::Server::named() else {
        return;
    };
    on_a_runtime(async {
        promises!(in_turn, arango::OnServer::new(&server));
    });
}
