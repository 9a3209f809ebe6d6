//! Changes whose outcome can be checked after a crash: every worker changes keys of its own, writes down what it is
//! about to ask and what was answered, and can later say for each key which states are allowed.

use crate::client::{Answer, Client, unbase64};
use crate::random::Choices;
use crate::stop_flag::StopFlag;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Mutex;

/// Keys that one worker makes at most.
const KEYS: usize = 12;

/// A change of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// `rotate`.
    Rotate,
    /// `enable`.
    Enable,
    /// `disable`.
    Disable,
    /// `enable-key-rotation`.
    EnableRotation,
    /// `disable-key-rotation`.
    DisableRotation,
    /// `schedule-deletion`.
    ScheduleDeletion,
    /// `cancel-deletion`.
    CancelDeletion,
}

impl Change {
    /// The last segment of the operation's path.
    #[must_use]
    pub fn operation(self) -> &'static str {
        match self {
            Self::Rotate => "rotate",
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::EnableRotation => "enable-key-rotation",
            Self::DisableRotation => "disable-key-rotation",
            Self::ScheduleDeletion => "schedule-deletion",
            Self::CancelDeletion => "cancel-deletion",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Enabled,
    Disabled,
    PendingDeletion,
}

/// What `get` must show of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct View {
    status: Status,
    automatic: bool,
    version: u64,
    manual_count: u64,
    revision: u64,
}

impl View {
    fn created() -> Self {
        Self { status: Status::Enabled, automatic: true, version: 1, manual_count: 0, revision: 1 }
    }

    fn of(key: &Value) -> Self {
        let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{value} is not a count, in {key}"));
        let status = match key["status"].as_str() {
            Some("enabled") => Status::Enabled,
            Some("disabled") => Status::Disabled,
            Some("pending-deletion") => Status::PendingDeletion,
            Some(_) | None => panic!("{key} has no known status"),
        };
        assert_eq!(key.get("delete-at").is_some(), status == Status::PendingDeletion, "delete-at of {key}");
        Self {
            status,
            automatic: key["rotation"]["automatic"].as_bool().expect("rotation.automatic is there"),
            version: number(&key["material"]["version"]),
            manual_count: number(&key["rotation"]["manual-count"]),
            revision: number(&key["revision"]["seq"]),
        }
    }

    fn possible(&self) -> Vec<Change> {
        match self.status {
            Status::Enabled => {
                let rotation = if self.automatic { Change::DisableRotation } else { Change::EnableRotation };
                let mut changes = vec![Change::Disable, Change::ScheduleDeletion, rotation];
                if self.manual_count < 10 {
                    changes.extend([Change::Rotate; 3]);
                }
                changes
            }
            Status::Disabled => vec![Change::Enable, Change::Enable, Change::ScheduleDeletion],
            Status::PendingDeletion => vec![Change::CancelDeletion, Change::CancelDeletion, Change::ScheduleDeletion],
        }
    }

    fn after(&self, change: Change) -> Self {
        let mut next = Self { revision: self.revision + 1, ..self.clone() };
        match change {
            Change::Rotate => {
                next.version += 1;
                next.manual_count += 1;
            }
            Change::Enable => next.status = Status::Enabled,
            Change::Disable | Change::CancelDeletion => next.status = Status::Disabled,
            Change::EnableRotation => next.automatic = true,
            Change::DisableRotation => next.automatic = false,
            Change::ScheduleDeletion => next.status = Status::PendingDeletion,
        }
        next
    }
}

#[derive(Clone, Debug)]
struct Secret {
    plaintext: Vec<u8>,
    ciphertext: String,
    version: u64,
}

/// One key as its worker knows it.
#[derive(Clone, Debug)]
struct Entry {
    name: String,
    /// Id and last answered state; none while `create` is not answered.
    answered: Option<(String, View)>,
    /// The change that was asked for and not answered yet.
    asked: Option<Change>,
    /// The body of a `get` after the last answered change.
    body: Option<Vec<u8>>,
    secrets: Vec<Secret>,
}

/// What one worker asked for and what it was answered.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    prefix: String,
    names: u64,
    most_keys: usize,
    entries: Vec<Entry>,
    /// Changes answered with 200 so far.
    pub answers: u64,
}

impl Ledger {
    /// An empty ledger; `prefix` keeps the key names of several workers apart.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), names: 0, most_keys: KEYS, entries: Vec::new(), answers: 0 }
    }

    /// A ledger of keys that are there already, by the bodies of their `get`; their names begin with `prefix` and a dash.
    /// No others are made.
    #[must_use]
    pub fn of_keys(prefix: &str, keys: &[Value]) -> Self {
        let text = |key: &Value, member: &str| key[member].as_str().expect("a key has an id and a name").to_owned();
        let entry = |key: &Value| Entry {
            name: text(key, "name"),
            answered: Some((text(key, "id"), View::of(key))),
            asked: None,
            body: None,
            secrets: Vec::new(),
        };
        let entries: Vec<Entry> = keys.iter().map(entry).collect();
        Self { most_keys: entries.len(), entries, ..Self::new(prefix) }
    }
}

/// Makes changes until `stop` is set or the server no longer answers. `answered` is called the moment an answer has
/// arrived.
pub fn work(
    mut client: Client,
    ledger: &Mutex<Ledger>,
    mut choices: Choices,
    stop: &StopFlag,
    answered: &(dyn Fn() + Sync),
) {
    while !stop.is_raised() {
        if step(&mut client, ledger, &mut choices, answered).is_err() {
            return;
        }
    }
}

fn step(
    client: &mut Client,
    ledger: &Mutex<Ledger>,
    choices: &mut Choices,
    answered: &(dyn Fn() + Sync),
) -> std::io::Result<()> {
    let (known, most) = {
        let ledger = ledger.lock().expect("no worker panicked");
        (ledger.entries.len(), ledger.most_keys)
    };
    let index = if known < most && (known == 0 || choices.below(6) == 0) {
        create(client, ledger, answered)?
    } else {
        let index = usize::try_from(choices.below(known as u64)).expect("an index");
        change(client, ledger, index, choices, answered)?;
        index
    };
    remember(client, ledger, index, choices)
}

fn create(client: &mut Client, ledger: &Mutex<Ledger>, answered: &(dyn Fn() + Sync)) -> std::io::Result<usize> {
    let (index, name) = {
        let mut ledger = ledger.lock().expect("no worker panicked");
        let name = format!("{}-{}", ledger.prefix, ledger.names);
        ledger.names += 1;
        ledger.entries.push(Entry { name: name.clone(), answered: None, asked: None, body: None, secrets: Vec::new() });
        (ledger.entries.len() - 1, name)
    };
    let answer = client.try_send("POST", "/v2/kms-key", json!({ "name": name }).to_string().as_bytes())?;
    answered();
    let key = known(&answer)?.ok();
    let id = key["id"].as_str().expect("a key has an id").to_owned();
    let mut ledger = ledger.lock().expect("no worker panicked");
    ledger.entries[index].answered = Some((id, View::created()));
    ledger.answers += 1;
    Ok(index)
}

fn change(
    client: &mut Client,
    ledger: &Mutex<Ledger>,
    index: usize,
    choices: &mut Choices,
    answered: &(dyn Fn() + Sync),
) -> std::io::Result<()> {
    let (path, change) = {
        let mut ledger = ledger.lock().expect("no worker panicked");
        let entry = &mut ledger.entries[index];
        let (id, view) = entry.answered.as_ref().expect("this worker's keys are answered before it goes on");
        let change = *choices.pick(&view.possible());
        let path = format!("/v2/kms-key/{id}/{}", change.operation());
        entry.asked = Some(change);
        entry.body = None;
        (path, change)
    };
    let answer = client.try_send("POST", &path, b"")?;
    answered();
    known(&answer)?.ok();
    ledger.lock().expect("no worker panicked").settle(index, change);
    Ok(())
}

/// An answer that says that the outcome is unknown is none, and after a refusal because of the disk the worker ends too.
fn known(answer: &Answer) -> std::io::Result<&Answer> {
    match answer.title().as_str() {
        "Outcome Unknown" | "Request Timeout" | "Service Unavailable" => Err(std::io::ErrorKind::TimedOut.into()),
        _ => Ok(answer),
    }
}

/// Takes a ciphertext of the current version now and then, and what `get` shows.
fn remember(client: &mut Client, ledger: &Mutex<Ledger>, index: usize, choices: &mut Choices) -> std::io::Result<()> {
    let (id, view) = ledger.lock().expect("no worker panicked").entries[index].answered.clone().expect("answered");
    if view.status == Status::Enabled && choices.below(2) == 0 {
        let plaintext = choices.below(u64::MAX).to_be_bytes().to_vec();
        let body = json!({ "plaintext": crate::client::base64(&plaintext) }).to_string();
        let answer = client.try_send("POST", &format!("/v2/kms-key/{id}/encrypt"), body.as_bytes())?;
        let ciphertext = answer.ok()["ciphertext"].as_str().expect("a ciphertext").to_owned();
        let secret = Secret { plaintext, ciphertext, version: answer.key_version() };
        assert_eq!(secret.version, view.version, "encrypt uses the current version");
        ledger.lock().expect("no worker panicked").entries[index].secrets.push(secret);
    }
    if choices.below(3) == 0 {
        let answer = client.try_send("GET", &format!("/v2/kms-key/{id}"), b"")?;
        // How far replicas are goes on changing by itself.
        if answer.ok()["replicas"] == json!([]) {
            ledger.lock().expect("no worker panicked").entries[index].body = Some(answer.body);
        }
    }
    Ok(())
}

impl Ledger {
    fn settle(&mut self, index: usize, change: Change) {
        let entry = &mut self.entries[index];
        let (_, view) = entry.answered.as_mut().expect("only answered keys are changed");
        *view = view.after(change);
        entry.asked = None;
        self.answers += 1;
    }

    /// Changes that were asked for and are not answered yet.
    #[must_use]
    pub fn open_changes(&self) -> usize {
        self.entries.iter().filter(|entry| entry.answered.is_none() || entry.asked.is_some()).count()
    }

    /// The ids of all keys.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.entries.iter().filter_map(|entry| Some(entry.answered.as_ref()?.0.clone())).collect()
    }

    /// Checks, after [`Ledger::verify`] and when nothing is on its way between the zones any more, that another zone has the
    /// same keys and opens every ciphertext. Gives how many ciphertexts were opened.
    pub fn verify_replica(&self, origin: &mut Client, replica: &mut Client) -> usize {
        let mut opened = 0;
        for entry in &self.entries {
            let (id, _) = entry.answered.as_ref().expect("verify has settled every key");
            let path = format!("/v2/kms-key/{id}");
            let (theirs, ours) = (replica.get(&path).ok(), origin.get(&path).ok());
            for member in ["name", "material", "rotation", "created-at", "origin-zone", "multi-zone", "description"] {
                assert_eq!(theirs[member], ours[member], "{member} of {} in another zone", entry.name);
            }
            if theirs["status"] == "disabled" {
                replica.post_empty(&format!("{path}/enable")).ok();
            }
            for secret in &entry.secrets {
                let answer = replica.decrypt(id, &secret.ciphertext);
                let plaintext = unbase64(answer.ok()["plaintext"].as_str().expect("a plaintext"));
                assert_eq!(plaintext, secret.plaintext, "a ciphertext of {} in another zone", entry.name);
                opened += 1;
            }
        }
        opened
    }

    /// Checks that the server has everything that was answered, that what was not answered is wholly there or wholly
    /// absent, and that every ciphertext opens. Afterwards nothing is open any more: the ledger follows the server.
    ///
    /// Gives how many ciphertexts were opened.
    pub fn verify(&mut self, client: &mut Client) -> usize {
        let listed = client.get("/v2/kms-key").ok();
        let listed = listed["kms-keys"].as_array().expect("a list of keys").clone();
        let mut opened = 0;
        let mut kept = Vec::new();
        for mut entry in std::mem::take(&mut self.entries) {
            let mut of_name = listed.iter().filter(|key| key["name"] == json!(entry.name));
            let found = of_name.next();
            assert!(of_name.next().is_none(), "{} is there twice", entry.name);
            let Some(found) = found else {
                assert!(entry.answered.is_none(), "{} was answered and is lost", entry.name);
                continue;
            };
            let id = found["id"].as_str().expect("a listed key has an id").to_owned();
            opened += entry.verify(client, &id);
            kept.push(entry);
        }
        let known: BTreeSet<&str> = kept.iter().map(|entry| entry.name.as_str()).collect();
        for key in &listed {
            let name = key["name"].as_str().expect("a listed key has a name");
            let mine = name.strip_prefix(&self.prefix).is_some_and(|rest| rest.starts_with('-'));
            assert!(!mine || known.contains(name), "{name} was never asked for");
        }
        drop(known);
        self.entries = kept;
        opened
    }
}

impl Entry {
    fn verify(&mut self, client: &mut Client, id: &str) -> usize {
        let path = format!("/v2/kms-key/{id}");
        let answer = client.get(&path);
        let seen = View::of(&answer.ok());
        let allowed: Vec<View> = match (&self.answered, self.asked) {
            (None, _) => vec![View::created()],
            (Some((_, view)), None) => vec![view.clone()],
            (Some((_, view)), Some(change)) => vec![view.clone(), view.after(change)],
        };
        assert!(allowed.contains(&seen), "{}: {seen:?} is not one of {allowed:?}", self.name);
        if let Some((answered, _)) = &self.answered {
            assert_eq!(answered, id, "the id of {}", self.name);
        }
        if let Some(body) = &self.body {
            assert_eq!(String::from_utf8_lossy(body), answer.text(), "get of {} changed", self.name);
        }
        self.asked = None;
        self.body = None;
        self.answered = Some((id.to_owned(), seen.clone()));

        let rotations = client.get(&format!("{path}/list-key-rotations")).ok();
        let versions: Vec<u64> = rotations["rotations"]
            .as_array()
            .expect("a list of rotations")
            .iter()
            .map(|rotation| rotation["version"].as_u64().expect("a version"))
            .collect();
        assert_eq!(versions, (2..=seen.version).collect::<Vec<u64>>(), "rotations of {}", self.name);
        self.open_all(client, id)
    }

    fn open_all(&mut self, client: &mut Client, id: &str) -> usize {
        let mut apply = |entry: &mut Self, change: Change| {
            client.post_empty(&format!("/v2/kms-key/{id}/{}", change.operation())).ok();
            let (_, view) = entry.answered.as_mut().expect("set before");
            *view = view.after(change);
        };
        let status = self.answered.as_ref().expect("set before").1.status;
        match status {
            Status::Enabled => {}
            Status::Disabled => apply(self, Change::Enable),
            Status::PendingDeletion => {
                apply(self, Change::CancelDeletion);
                apply(self, Change::Enable);
            }
        }
        let version = self.answered.as_ref().expect("set before").1.version;
        for secret in &self.secrets {
            let answer: Answer = client.decrypt(id, &secret.ciphertext);
            let plaintext = unbase64(answer.ok()["plaintext"].as_str().expect("a plaintext"));
            assert_eq!(plaintext, secret.plaintext, "a ciphertext of {}", self.name);
            assert_eq!(answer.key_version(), secret.version, "the version of a ciphertext of {}", self.name);
        }
        let (_, used) = client.encrypt(id, b"after the crash");
        assert_eq!(used, version, "{} encrypts with its current version", self.name);
        self.secrets.len()
    }
}
