//! What the store has of a line, asked by a reader of its own beside the agent's writer.

use std::sync::Arc;

use crate::config::Settings;
use crate::pipeline::recall::Recall;

/// Answers what the store has by a reader of its own.
pub(super) fn recall(settings: &Settings) -> Recall {
    let settings = settings.clone();
    Recall::new(Arc::new(move |keys, before| {
        let reader = crate::store::open_reader(&settings).map_err(|e| e.to_string())?;
        crate::store::held(reader.as_ref(), settings.store.kind, keys, before).map_err(|e| e.to_string())
    }))
}
