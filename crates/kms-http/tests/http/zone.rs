//! A zone to test on: service, front door and clocks.

use crate::client::{Answer, Credential};
use axum::body::Body;
use http::Request;
use kms_crypto::{SecretBytes, ZonePrivateKey};
use kms_http::{FrontDoor, OperationFaults, RequestLimits, ZoneEntry};
use kms_service::{
    AuditLog, CredentialConfig, Kms, KmsConfig, OrganisationConfig, Parts, ReplicationConfig, Running, SHRED_AFTER,
    ServiceClock,
};
use kms_storage::{MemoryStore, Store};
use kms_testkit::{FakeTime, FaultyStore, SeededEntropy, TestVault};
use kms_types::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// The time at which requests are signed and checked.
pub(crate) const NOW: i64 = 1_893_455_900;

pub(crate) const ACME: Credential = Credential { id: "EXOacme", secret: "a secret that is long enough" };
pub(crate) const ACME_SECOND: Credential = Credential { id: "EXOacme2", secret: "a second that is long enough" };
pub(crate) const OTHER: Credential = Credential { id: "EXOother", secret: "another that is long enough" };
/// Allowed in another zone only.
pub(crate) const ELSEWHERE: Credential = Credential { id: "EXOelsewhere", secret: "elsewhere that is long enough" };

pub(crate) struct Zone {
    pub(crate) front_door: Arc<FrontDoor>,
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) entropy: Arc<SeededEntropy>,
    pub(crate) time: FakeTime,
    /// Seconds since 1970 for signatures; `i64::MIN` makes the clock panic.
    pub(crate) wall: Arc<AtomicI64>,
    _running: Running,
}

impl Zone {
    pub(crate) async fn start() -> Self {
        Self::with(RequestLimits::default(), 1000).await
    }

    pub(crate) async fn with(limits: RequestLimits, keys_per_organisation: u32) -> Self {
        Self::built(limits, keys_per_organisation, None, Arc::new(kms_service::NoAuditLog)).await
    }

    /// A zone in which calls fail on purpose.
    pub(crate) async fn with_faults(faults: Arc<dyn OperationFaults>) -> Self {
        Self::built(RequestLimits::default(), 1000, Some(faults), Arc::new(kms_service::NoAuditLog)).await
    }

    /// A zone that tells `audit` what is done.
    pub(crate) async fn with_audit(limits: RequestLimits, audit: Arc<dyn AuditLog>) -> Self {
        Self::built(limits, 1000, None, audit).await
    }

    async fn built(
        limits: RequestLimits,
        keys_per_organisation: u32,
        faults: Option<Arc<dyn OperationFaults>>,
        audit: Arc<dyn AuditLog>,
    ) -> Self {
        let time = FakeTime::at(Timestamp::from_nanos(1_790_000_000_123_456_789));
        let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())));
        let entropy = Arc::new(SeededEntropy::new(7));
        let vault = Arc::new(TestVault::new(1));
        let parts = Parts {
            store: Arc::clone(&store) as Arc<dyn Store>,
            keyring: vault.keyring(),
            keyring_vault: vault,
            shred_after: SHRED_AFTER,
            entropy: Arc::clone(&entropy) as Arc<_>,
            clock: Arc::new(ServiceClock::new(Box::new(time.clone()))),
            audit,
        };
        let credential = |credential: Credential, zone: Option<&str>| {
            let zones = zone.map(|zone| vec![zone.parse().unwrap()]);
            CredentialConfig::new(credential.id, SecretBytes::copy_from(credential.secret.as_bytes()), zones).unwrap()
        };
        let peer_key = ZonePrivateKey::generate(&SeededEntropy::new(3)).unwrap();
        let vectors = [
            Credential { id: "EXOb03c1e7fd2a8f5d0c1d2e3f4", secret: "kmsTestSecret_0123456789abcdefghijklmnopq" },
            Credential { id: "EXOtestkey", secret: "test-secret-not-real" },
        ];
        let config = KmsConfig {
            zone: "ch-gva-2".parse().unwrap(),
            zones: ["ch-gva-2", "de-fra-1", "ch-dk-2"].map(|zone| zone.parse().unwrap()).into(),
            organisations: vec![
                OrganisationConfig {
                    name: "acme".parse().unwrap(),
                    default_key: None,
                    credentials: vec![
                        credential(ACME, Some("ch-gva-2")),
                        credential(ACME_SECOND, None),
                        credential(ELSEWHERE, Some("de-fra-1")),
                    ],
                },
                OrganisationConfig {
                    name: "other".parse().unwrap(),
                    default_key: Some("other-default".parse().unwrap()),
                    credentials: vec![credential(OTHER, None)],
                },
                OrganisationConfig {
                    name: "vectors".parse().unwrap(),
                    default_key: None,
                    credentials: vectors.into_iter().map(|vector| credential(vector, None)).collect(),
                },
            ],
            keys_per_organisation,
            replication: Some(ReplicationConfig {
                private_keys: vec![ZonePrivateKey::generate(&SeededEntropy::new(2)).unwrap()],
                peers: [("ch-dk-2".parse().unwrap(), peer_key.public_key())].into(),
            }),
        };
        let (kms, running) = match Kms::start(config, parts).await {
            Ok(started) => started,
            Err(cause) => panic!("the zone did not start: {cause}"),
        };
        kms.link_endpoint().unwrap().origin_down(&"ch-dk-2".parse().unwrap(), "connection refused");
        let zone = |name: &str, port: u16| ZoneEntry {
            name: name.parse().unwrap(),
            api_endpoint: format!("http://127.0.0.1:{port}/v2"),
        };
        let wall = Arc::new(AtomicI64::new(NOW));
        let clock = Arc::clone(&wall);
        let wall_clock = Arc::new(move || match clock.load(Ordering::Relaxed) {
            i64::MIN => panic!("no clock, on purpose"),
            now => now,
        });
        let zones = Arc::new([zone("ch-gva-2", 8080), zone("de-fra-1", 8081)]);
        let front_door = FrontDoor::new(kms, zones, limits, wall_clock);
        let front_door = match faults {
            Some(faults) => front_door.with_faults(faults),
            None => front_door,
        };
        Self { front_door: Arc::new(front_door), store, entropy, time, wall, _running: running }
    }

    /// Sends a request through the front door, without a socket. What hyper does on a connection is done here: it tells the length of the
    /// answer, and sends nothing more for HEAD (see `connections`).
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let is_head = request.method() == http::Method::HEAD;
        let (mut head, body) = self.front_door.respond(request, None).await.into_parts();
        let mut body = body.to_vec().await;
        head.headers.insert("content-length", body.len().into());
        if is_head {
            body.clear();
        }
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    /// Sends a signed request through the front door.
    pub(crate) async fn call(&self, method: &str, target: &str, body: &str) -> Answer {
        self.call_as(ACME, method, target, body).await
    }

    pub(crate) async fn call_as(&self, credential: Credential, method: &str, target: &str, body: &str) -> Answer {
        let authorization = credential.authorization(method, target, body.as_bytes(), NOW + 600);
        let request = Request::builder().method(method).uri(target).header("authorization", authorization);
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    /// Makes a key and tells its id.
    pub(crate) async fn create(&self, name: &str) -> String {
        let answer = self.call("POST", "/v2/kms-key", &format!("{{\"name\":\"{name}\"}}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Calls an operation on a key.
    pub(crate) async fn on(&self, id: &str, action: &str, body: &str) -> Answer {
        self.call("POST", &format!("/v2/kms-key/{id}/{action}"), body).await
    }

    /// Everything that callers can see of all keys.
    pub(crate) async fn visible_state(&self) -> String {
        let mut state = String::new();
        for credential in [ACME, OTHER] {
            state += &self.call_as(credential, "GET", "/v2/kms-key", "").await.text();
        }
        state
    }

    pub(crate) fn days_pass(&self, days: u64) {
        self.time.run(Duration::from_secs(days * 86_400));
    }
}
