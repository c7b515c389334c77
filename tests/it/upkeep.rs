//! What retention needs of a server, over real HTTP to the stand-in.

use std::sync::Arc;
use std::time::Duration;

use logagent::store::arango::Arango;
use logagent::store::{Batch, Fill, Sink};

use crate::standin::{Fault, Grant, Options, Standin, User, What};

const DB: &str = "script_logs";
const HOUR: Duration = Duration::from_secs(3600);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn one_agent_at_a_time_holds_the_lease_and_an_expired_one_is_free() {
    let standin = Standin::with(Options::default());
    runtime().block_on(async {
        let store = Arango::open(&standin.settings(DB)).unwrap();
        store.ensure_schema(false).await.unwrap();
        assert_eq!(store.lease("retention", "a", HOUR).await, Ok(true));
        assert_eq!(store.lease("retention", "b", HOUR).await, Ok(false));
        assert_eq!(
            store.lease("retention", "a", Duration::ZERO).await,
            Ok(true),
            "the holder renews it"
        );
        // Its clock counts milliseconds: the lease is over with the next one.
        while store.lease("retention", "b", HOUR).await != Ok(true) {}
        assert_eq!(store.lease("retention", "a", HOUR).await, Ok(false));
    });
}

#[test]
fn an_agent_that_may_not_keep_a_lease_or_has_no_collection_for_it_goes_on_without() {
    let shipper = User {
        collections: vec![("logagent_leases", Grant::Read)],
        ..User::shipper("ship", "secret-of-ship", DB)
    };
    let standin = Standin::with(Options {
        users: vec![User::root("root", "secret-of-root"), shipper],
        ..Options::default()
    });
    runtime().block_on(async {
        let admin = Arango::open(&standin.settings(DB)).unwrap();
        admin.ensure_schema(false).await.unwrap();
        let mut settings = standin.settings(DB);
        settings.username = "ship".into();
        settings.password = "secret-of-ship".into();
        let store = Arango::open(&settings).unwrap();
        assert_eq!(store.lease("retention", "a", HOUR).await, Ok(true));
        assert_eq!(admin.lease("retention", "b", HOUR).await, Ok(true), "nobody holds it");
        standin.with_world(|w| {
            let database = w.databases.get_mut(DB).unwrap();
            database.collections.remove("logagent_leases").unwrap();
        });
        assert_eq!(store.lease("retention", "a", HOUR).await, Ok(true));
    });
}

#[test]
fn the_size_is_that_of_all_collections_and_a_community_server_has_a_limit() {
    let standin = Standin::with(Options::default());
    runtime().block_on(async {
        let store = Arango::open(&standin.settings(DB)).unwrap();
        store.ensure_schema(false).await.unwrap();
        let fill = |bytes| Fill {
            bytes,
            limit: 100 << 30,
            over: None,
        };
        assert_eq!(store.fill().await, Ok(Some(fill(0))));
        let mut batch = Batch::default();
        let doc =
            r#"{"_key":"k","timestamp":"2026-11-21T02:20:24.054432Z","level":"INFO","message":"m","execution_id":"e"}"#;
        batch.events.push(doc.as_bytes());
        store.write(&Arc::new(batch)).await.unwrap();
        let bytes = store.fill().await.unwrap().unwrap().bytes;
        assert!(bytes > 200, "{bytes}");
        // A server that tells it by itself is believed.
        let told = r#"{"upgrading":false,"diskUsage":{"bytesUsed":7,"bytesLimit":5,"limitReached":true,
                       "secondsUntilReadOnly":60,"secondsUntilShutDown":120,"status":"limit-reached"}}"#;
        standin.fail(Fault::on("/_admin/license", What::Say(200, told, None)));
        let over = Fill {
            bytes: 7,
            limit: 5,
            over: Some((60, 120)),
        };
        assert_eq!(store.fill().await, Ok(Some(over)));
        let enterprise = r#"{"license":"x","features":{"expires":1683173040},"status":"good"}"#;
        standin.fail(Fault::on("/_admin/license", What::Say(200, enterprise, None)));
        assert_eq!(store.fill().await, Ok(None));
    });
}
